//! The machine's randomness.

use aws_lc_rs::rand;

use crate::domain::{Randomness, RandomnessUnavailable};

/// AWS-LC's generator, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    #[allow(clippy::disallowed_methods, reason = "the one place where the machine's randomness is drawn")]
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        rand::fill(bytes).map_err(|_| RandomnessUnavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let (mut first, mut second) = ([0u8; 32], [0u8; 32]);
        SystemRandomness.fill(&mut first).expect("the machine has randomness");
        SystemRandomness.fill(&mut second).expect("the machine has randomness");
        assert_ne!(first, second);
    }
}
