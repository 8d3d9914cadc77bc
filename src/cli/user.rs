//! `symbolon user add|list|show|change|set-password|disable|enable|remove`; `user_certificate`, `user_passkey` and `user_account` for the
//! rest. A running server reads accounts from the database and so
//! takes a change in at once.

use std::io::{BufRead as _, Read as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::Value;
use zeroize::Zeroizing;

use super::user_account::UnlinkAccount;
use super::user_certificate::{LinkCertificate, UnlinkCertificate};
use super::user_passkey::RemovePasskey;
use super::{ConfigArgument, print};
use crate::app::{OpenPeople, open_people};
use crate::clients::removal_window;
use crate::config::Loaded;
use crate::domain::{Clock as _, Lifetime, Randomness as _, SystemClock, Timestamp};
use crate::identity::{Person, PersonClaims, PersonError, PostalAddress};
use crate::jose::base64url;
use crate::jose::random::SystemRandomness;
use crate::oauth::resources::LONGEST_LIFETIME_SECONDS;
use crate::seal::Password;
use crate::store::RuleWindow;

/// People read at once.
const PAGE: u32 = 200;
/// Random bytes in a password that is made: 24 characters.
const GENERATED: usize = 18;
/// The group of administrators, which `--admin` puts somebody in.
const ADMINISTRATORS: &str = "admin";

/// Add, list, show, change and remove people
#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a person
    Add(Box<Add>),
    /// List everybody
    List(List),
    /// Show what is known of a person as JSON
    #[command(after_help = "Examples:\n  symbolon user show alice")]
    Show(Named),
    /// Change what is known of a person
    Change(Box<Change>),
    /// Set a person's password and end their sessions
    SetPassword(SetPassword),
    /// Take a person's second factor away, when they have lost it and their recovery codes
    #[command(after_help = "Examples:\n  symbolon user remove-second-factor alice")]
    RemoveSecondFactor(Named),
    /// Let a person sign in with a certificate
    LinkCertificate(LinkCertificate),
    /// Take a certificate away from a person, and end their sessions
    UnlinkCertificate(UnlinkCertificate),
    /// Take a passkey away from a person, and end their sessions
    RemovePasskey(RemovePasskey),
    /// Take an account at another provider away from a person, and end their sessions
    UnlinkAccount(UnlinkAccount),
    /// Keep a person out: end their sessions and revoke their tokens
    #[command(after_help = "Examples:\n  symbolon user disable alice")]
    Disable(Named),
    /// Let a person in again
    #[command(after_help = "Examples:\n  symbolon user enable alice")]
    Enable(Named),
    /// Remove a person for good: no copy of the database says anything of them any more
    #[command(after_help = "Examples:\n  symbolon user remove alice")]
    Remove(Named),
}

/// Add a person
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon user add alice --email alice@example.com --name 'Alice Liddell' --group staff
  echo 'lantern-orbit-velvet-fjord' | symbolon user add alice --password-stdin

Without --password-stdin a password is made and printed.")]
pub struct Add {
    /// The username: letters and digits of any script and . _ - @ + ', case does not count
    username: String,
    #[command(flatten)]
    profile: Profile,
    /// Put them in the group `admin`
    #[arg(long)]
    admin: bool,
    /// Read the password from standard input, one line
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

/// What is known of a person; an empty value takes it away.
#[derive(Debug, Args)]
struct Profile {
    /// The whole name
    #[arg(long)]
    name: Option<String>,
    /// The given name
    #[arg(long)]
    given_name: Option<String>,
    /// The family name
    #[arg(long)]
    family_name: Option<String>,
    /// The middle name
    #[arg(long)]
    middle_name: Option<String>,
    /// How they like to be called
    #[arg(long)]
    nickname: Option<String>,
    /// A page about them
    #[arg(long = "profile", value_name = "URL")]
    profile_page: Option<String>,
    /// A picture of them
    #[arg(long, value_name = "URL")]
    picture: Option<String>,
    /// Their own page
    #[arg(long, value_name = "URL")]
    website: Option<String>,
    /// `female`, `male`, or any other word
    #[arg(long)]
    gender: Option<String>,
    /// `YYYY-MM-DD`, `0000-MM-DD` or `YYYY`
    #[arg(long, value_name = "DATE")]
    birthdate: Option<String>,
    /// The e-mail address
    #[arg(long)]
    email: Option<String>,
    /// You know that the address is theirs
    #[arg(long)]
    email_verified: bool,
    /// The language, such as `en` or `de-AT`
    #[arg(long, value_name = "TAG")]
    locale: Option<String>,
    /// The time zone, such as `Europe/Vienna`
    #[arg(long, value_name = "ZONE")]
    zoneinfo: Option<String>,
    /// The telephone number
    #[arg(long, value_name = "NUMBER")]
    phone_number: Option<String>,
    /// You know that the number is theirs
    #[arg(long)]
    phone_number_verified: bool,
    /// Street and house number
    #[arg(long)]
    street_address: Option<String>,
    /// City
    #[arg(long)]
    locality: Option<String>,
    /// State, province or region
    #[arg(long)]
    region: Option<String>,
    /// Postal code
    #[arg(long)]
    postal_code: Option<String>,
    /// Country
    #[arg(long)]
    country: Option<String>,
    /// A group; may be given again, and replaces those before
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
}

/// List everybody
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon user list")]
pub struct List {
    #[command(flatten)]
    config: ConfigArgument,
}

/// One person
#[derive(Debug, Args)]
pub struct Named {
    /// The username
    username: String,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Change what is known of a person
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon user change alice --email alice@example.org --email-verified
  symbolon user change alice --group staff --group payments")]
pub struct Change {
    /// The username
    username: String,
    #[command(flatten)]
    profile: Profile,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Set a person's password
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  symbolon user set-password alice
  echo 'lantern-orbit-velvet-fjord' | symbolon user set-password alice --password-stdin")]
pub struct SetPassword {
    /// The username
    username: String,
    /// Read the password from standard input, one line; without it one is made and printed
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

impl User {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Add(add) => add.run().await?,
            Self::List(list) => list.run().await?,
            Self::Show(show) => show.show().await?,
            Self::Change(change) => change.run().await?,
            Self::SetPassword(set) => set.run().await?,
            Self::RemoveSecondFactor(named) => named.remove_second_factor().await?,
            Self::LinkCertificate(link) => link.run().await?,
            Self::UnlinkCertificate(unlink) => unlink.run().await?,
            Self::RemovePasskey(remove) => remove.run().await?,
            Self::UnlinkAccount(unlink) => unlink.run().await?,
            Self::Disable(named) => named.disable().await?,
            Self::Enable(named) => named.enable().await?,
            Self::Remove(named) => named.remove().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Add {
    async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        let (password, generated) = password(self.password_stdin)?;
        let mut claims = self.profile.onto(PersonClaims::default())?;
        if self.admin {
            claims.groups.push(ADMINISTRATORS.to_owned());
            claims.groups.sort_unstable();
            claims.groups.dedup();
        }
        let open = open(&loaded).await?;
        let added = open.people.add(&self.username, claims, Some(&password), now()?).await;
        open.close().await;
        let subject = match added {
            Err(PersonError::NameTaken) => {
                bail!("there is a user `{}`: change them with `symbolon user change`", self.username)
            }
            other => other?,
        };
        print(format!("added {}  {subject}\n", self.username))?;
        tell(&password, generated)
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let open = open(&self.config.load()?).await?;
        let listed = list(&open).await;
        open.close().await;
        listed
    }
}

async fn list(open: &OpenPeople) -> anyhow::Result<()> {
    let mut after = String::new();
    loop {
        let page = open.people.page(&after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.subject.as_str().to_owned();
        for person in &page {
            let claims = person.claims.as_ref();
            let username = claims.and_then(|claims| claims.preferred_username.as_deref()).unwrap_or("(key gone)");
            let groups = claims.map(|claims| claims.groups.join(" ")).unwrap_or_default();
            print(format!("{username}  {}  {}  groups \"{groups}\"\n", person.subject, person.state.name()))?;
        }
    }
}

impl Named {
    async fn show(self) -> anyhow::Result<()> {
        let open = open(&self.config.load()?).await?;
        let found = async {
            let person = named(&open, &self.username).await?;
            anyhow::Ok(open.people.described(&person).await?)
        };
        let found = found.await;
        open.close().await;
        print(format!("{:#}\n", Value::Object(found?)))
    }

    async fn remove_second_factor(self) -> anyhow::Result<()> {
        let open = open(&self.config.load()?).await?;
        let done = match named(&open, &self.username).await {
            Ok(person) => open.people.remove_second_factor(&person.subject, now()?).await.map_err(anyhow::Error::new),
            Err(error) => Err(error),
        };
        open.close().await;
        match done? {
            true => print(format!("{} signs in with the password alone now\n", self.username)),
            false => anyhow::bail!("{} has no second factor", self.username),
        }
    }

    async fn disable(self) -> anyhow::Result<()> {
        let open = open(&self.config.load()?).await?;
        let now = now()?;
        let done = match named(&open, &self.username).await {
            Ok(person) => open.people.disable(&person.subject, window(now), now).await.map_err(anyhow::Error::new),
            Err(error) => Err(error),
        };
        open.close().await;
        done?;
        print(format!("disabled {}: sessions ended, tokens revoked\n", self.username))
    }

    async fn enable(self) -> anyhow::Result<()> {
        let open = open(&self.config.load()?).await?;
        let done = match named(&open, &self.username).await {
            Ok(person) => open.people.enable(&person.subject, now()?).await.map_err(anyhow::Error::new),
            Err(error) => Err(error),
        };
        open.close().await;
        done?;
        print(format!("enabled {}\n", self.username))
    }

    async fn remove(self) -> anyhow::Result<()> {
        let open = open(&self.config.load()?).await?;
        let now = now()?;
        let done = match named(&open, &self.username).await {
            Ok(person) => open.people.remove(&person.subject, window(now), now).await.map_err(anyhow::Error::new),
            Err(error) => Err(error),
        };
        open.close().await;
        done?;
        print(format!("removed {}: sessions ended, tokens revoked, the key of their data deleted\n", self.username))
    }
}

impl Change {
    async fn run(self) -> anyhow::Result<()> {
        let open = open(&self.config.load()?).await?;
        let done = self.change(&open).await;
        open.close().await;
        done?;
        print(format!("changed {}\n", self.username))
    }

    async fn change(&self, open: &OpenPeople) -> anyhow::Result<()> {
        let person = named(open, &self.username).await?;
        let known = person.claims.context("the key of this user's data is gone: they were removed; remove what is left")?;
        let claims = self.profile.onto(known)?;
        Ok(open.people.set_claims(&person.subject, claims, now()?).await?)
    }
}

impl SetPassword {
    async fn run(self) -> anyhow::Result<()> {
        let loaded = self.config.load()?;
        let (password, generated) = password(self.password_stdin)?;
        let open = open(&loaded).await?;
        let done = match named(&open, &self.username).await {
            Ok(person) => open.people.set_password(&person.subject, &password, now()?).await.map_err(anyhow::Error::new),
            Err(error) => Err(error),
        };
        open.close().await;
        done?;
        print(format!("set the password of {}: sessions ended\n", self.username))?;
        tell(&password, generated)
    }
}

impl Profile {
    /// These claims with what was given in their place.
    fn onto(&self, mut claims: PersonClaims) -> anyhow::Result<PersonClaims> {
        let given = [
            (&self.name, &mut claims.name),
            (&self.given_name, &mut claims.given_name),
            (&self.family_name, &mut claims.family_name),
            (&self.middle_name, &mut claims.middle_name),
            (&self.nickname, &mut claims.nickname),
            (&self.gender, &mut claims.gender),
            (&self.locale, &mut claims.locale),
            (&self.zoneinfo, &mut claims.zoneinfo),
        ];
        for (text, claim) in given {
            if let Some(text) = text {
                *claim = present(text)?;
            }
        }
        let pages = [
            ("--profile", &self.profile_page, &mut claims.profile),
            ("--picture", &self.picture, &mut claims.picture),
            ("--website", &self.website, &mut claims.website),
        ];
        for (option, text, claim) in pages {
            let Some(text) = text else { continue };
            let page = present(text)?;
            if page.as_ref().is_some_and(|page| !page.starts_with("https://") && !page.starts_with("http://")) {
                bail!("{option}: write an `https` or `http` URL");
            }
            *claim = page;
        }
        if let Some(birthdate) = &self.birthdate {
            claims.birthdate = present(birthdate)?;
            if claims.birthdate.as_deref().is_some_and(|text| !is_birthdate(text)) {
                bail!("--birthdate: write `YYYY-MM-DD`, `0000-MM-DD` or `YYYY`");
            }
        }
        if let Some(number) = &self.phone_number {
            claims.phone_number = present(number)?;
            claims.phone_number_verified = claims.phone_number.as_ref().map(|_| self.phone_number_verified);
        } else if self.phone_number_verified {
            claims.phone_number_verified = claims.phone_number.as_ref().map(|_| true);
        }
        let mut address = claims.address.take().unwrap_or_default();
        let parts = [
            (&self.street_address, &mut address.street_address),
            (&self.locality, &mut address.locality),
            (&self.region, &mut address.region),
            (&self.postal_code, &mut address.postal_code),
            (&self.country, &mut address.country),
        ];
        for (text, part) in parts {
            if let Some(text) = text {
                *part = present(text)?;
            }
        }
        claims.address = Some(address).filter(|address| *address != PostalAddress::default());
        if let Some(email) = &self.email {
            let email = present(email)?;
            if email
                .as_ref()
                .is_some_and(|text| !text.split_once('@').is_some_and(|(local, host)| !local.is_empty() && !host.is_empty()))
            {
                bail!("--email: `{}` is no e-mail address", email.unwrap_or_default());
            }
            // Another address is nobody's word's until somebody says so.
            claims.email_verified = email.as_ref().map(|_| self.email_verified);
            claims.email = email;
        } else if self.email_verified {
            claims.email_verified = claims.email.as_ref().map(|_| true);
        }
        if !self.groups.is_empty() {
            claims.groups =
                self.groups.iter().map(|group| present(group)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
            claims.groups.sort_unstable();
            claims.groups.dedup();
        }
        Ok(claims)
    }
}

/// OpenID Connect Core §5.1.
fn is_birthdate(text: &str) -> bool {
    let digits = |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        [year] => digits(year, 4),
        [year, month, day] => digits(year, 4) && digits(month, 2) && digits(day, 2),
        _ => false,
    }
}

/// The most that one claim may have, in bytes.
const MAX_CLAIM: usize = 1_024;

/// A claim's text; nothing when it is empty.
fn present(text: &str) -> anyhow::Result<Option<String>> {
    let text = text.trim();
    if text.len() > MAX_CLAIM || text.chars().any(char::is_control) {
        bail!("a value has at most {MAX_CLAIM} bytes and no control characters");
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

pub(super) async fn named(open: &OpenPeople, username: &str) -> anyhow::Result<Person> {
    open.people.named(username).await?.with_context(|| format!("there is no user `{username}`; `symbolon user list` lists them"))
}

pub(super) async fn open(loaded: &Loaded) -> anyhow::Result<OpenPeople> {
    open_people(loaded, &SystemClock::new(), Arc::new(SystemRandomness)).await
}

pub(super) fn now() -> anyhow::Result<Timestamp> {
    Ok(SystemClock::new().now()?)
}

fn window(now: Timestamp) -> RuleWindow {
    removal_window(now, Lifetime::from_seconds(LONGEST_LIFETIME_SECONDS))
}

/// The password from standard input, or one that is made; with it whether it was made.
fn password(from_stdin: bool) -> anyhow::Result<(Password, bool)> {
    if !from_stdin {
        return Ok((generated()?, true));
    }
    let mut line = Zeroizing::new(String::new());
    // The longest password and its line's end; what is longer is then refused as too long.
    let most = Password::MAX_BYTES as u64 + 3;
    std::io::stdin().lock().take(most).read_line(&mut line).context("standard input")?;
    let text = line.strip_suffix('\n').unwrap_or(&line);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Ok((Password::prepare(text).context("standard input")?, false))
}

/// A password that nobody guesses.
pub fn generated() -> anyhow::Result<Password> {
    let mut bytes = Zeroizing::new([0u8; GENERATED]);
    SystemRandomness.fill(&mut *bytes)?;
    let text = Zeroizing::new(base64url::encode(*bytes));
    Ok(Password::prepare(&text)?)
}

/// Prints a password that was made: nobody else can.
fn tell(password: &Password, generated: bool) -> anyhow::Result<()> {
    if generated { print(format!("password {}\n", password.expose())) } else { Ok(()) }
}

/// Makes sure that there is a person of this name; for the demonstration. The password is set for a new person, or when it is
/// `fresh`.
pub async fn ensure(
    loaded: &Loaded,
    username: &str,
    claims: PersonClaims,
    password: &Password,
    fresh: bool,
) -> anyhow::Result<()> {
    let open = open(loaded).await?;
    let done = async {
        match open.people.named(username).await? {
            Some(person) if fresh => open.people.set_password(&person.subject, password, now()?).await?,
            Some(_) => {}
            None => drop(open.people.add(username, claims, Some(password), now()?).await?),
        }
        anyhow::Ok(())
    };
    let done = done.await;
    open.close().await;
    done
}
