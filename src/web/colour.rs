//! One configured colour becomes two that can be read: contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3).

use std::fmt;
use std::str::FromStr;

/// A colour of sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour([u8; 3]);

/// Not `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a colour is written `#rrggbb`")]
pub struct ColourError;

/// The contrast that text needs (WCAG 2.2, 1.4.3).
const ENOUGH: f64 = 4.5;
const ENOUGH_IN_THE_DARK: f64 = 7.0;

impl Colour {
    /// White.
    pub const WHITE: Self = Self([255; 3]);
    /// Black.
    const BLACK: Self = Self([0; 3]);

    /// A colour of these parts.
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self([red, green, blue])
    }

    /// The nearest shade of this colour that can be read on `background`: darker on light ones, lighter on dark ones, where more
    /// contrast is asked for, since thin bright lines look thinner there.
    pub fn readable_on(self, background: Self) -> Self {
        let enough = if background.luminance() > 0.18 { ENOUGH } else { ENOUGH_IN_THE_DARK };
        let towards = if background.luminance() > 0.18 { Self::BLACK } else { Self::WHITE };
        (0..=100)
            .map(|percent| self.mixed(towards, percent))
            .find(|shade| shade.contrast(background) >= enough)
            .unwrap_or(towards)
    }

    fn mixed(self, other: Self, percent: u32) -> Self {
        let mut parts = self.0;
        for (part, target) in parts.iter_mut().zip(other.0) {
            let mixed = u32::from(*part) * (100 - percent) + u32::from(target) * percent;
            *part = u8::try_from(mixed / 100).unwrap_or(u8::MAX);
        }
        Self(parts)
    }

    /// The contrast ratio, 1 to 21.
    fn contrast(self, other: Self) -> f64 {
        let (one, other) = (self.luminance(), other.luminance());
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// The relative luminance, 0 to 1.
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.212_6 * red + 0.715_2 * green + 0.072_2 * blue
    }
}

impl FromStr for Colour {
    type Err = ColourError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits =
            text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let value = u32::from_str_radix(digits.ok_or(ColourError)?, 16).map_err(|_| ColourError)?;
        let [_, red, green, blue] = value.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_colour_can_be_read() {
        let dark: Colour = "#1d2026".parse().expect("a colour");
        for text in ["#1f5d4c", "#ffff00", "#000000", "#ffffff", "#808080", "#ff0000", "#0000ff", "#00ff7f"] {
            let colour: Colour = text.parse().expect("a colour");
            for background in [Colour::WHITE, dark] {
                assert!(colour.readable_on(background).contrast(background) >= ENOUGH, "{text} on {background}");
            }
        }
        let enough: Colour = "#1f5d4c".parse().expect("a colour");
        assert_eq!(enough.readable_on(Colour::WHITE), enough, "what can be read stays");
        assert!((Colour::WHITE.contrast(Colour::BLACK) - 21.0).abs() < 1e-9);
    }

    /// Text on every surface of the stylesheet, in both schemes.
    #[test]
    fn the_stylesheet_can_be_read() {
        let sheet = include_str!("../../templates/style.css");
        let (light, dark) = sheet.split_once("@media (prefers-color-scheme: dark)").expect("two schemes");
        let dark = dark.split_once("\n}\n").expect("its end").0;
        for (scheme, name) in [(light, "light"), (dark, "dark")] {
            let colour = |variable: &str| -> Colour {
                let start = scheme.find(&format!("--{variable}: ")).unwrap_or_else(|| panic!("{variable} of {name}"));
                let value = &scheme[start + variable.len() + 4..];
                value[..7].parse().unwrap_or_else(|_| panic!("{variable} of {name}"))
            };
            for (text, surface) in [
                ("ink", "paper"),
                ("ink", "card"),
                ("ink", "field"),
                ("soft", "paper"),
                ("soft", "card"),
                ("bad", "bad-paper"),
                ("good", "good-paper"),
                ("good", "card"),
            ] {
                let contrast = colour(text).contrast(colour(surface));
                assert!(contrast >= ENOUGH, "{text} on {surface} in {name}: {contrast:.2}");
            }
            // Edges of what can be used need 3 to 1 (1.4.11).
            for surface in ["card", "field"] {
                let contrast = colour("edge").contrast(colour(surface));
                assert!(contrast >= 3.0, "edge on {surface} in {name}: {contrast:.2}");
            }
        }
    }

    #[test]
    fn what_is_no_colour_is_refused() {
        for text in ["", "#12345", "#1234567", "123456", "#12345g", "#+12345", "red", "#é1234"] {
            assert_eq!(text.parse::<Colour>(), Err(ColourError), "{text}");
        }
    }
}
