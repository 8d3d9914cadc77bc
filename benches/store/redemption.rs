//! Redemptions of codes and refresh tokens per second, beside what the engine itself commits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use symbolon::domain::{ClientId, FamilyId, Subject};
use symbolon::event::{AuditEvent, Trailed};
use symbolon::jose::random::SystemRandomness;
use symbolon::seal::PersonKey;
use symbolon::store::{CodeSpent, Finishes, NewAccount, NewCode, NewFamily, Rotated, Store};

use crate::Options;
use crate::engine::{self, Engine, LATER, NOW, Raw};
use crate::report::{Row, Unit, resident_mib};

/// People with accounts.
const PEOPLE: usize = 256;
/// What is sealed with a grant: about as long as a real one.
const STATE: [u8; 400] = [b'x'; 400];

fn event() -> Trailed {
    Trailed {
        time: NOW,
        event: AuditEvent::Reloaded { what: "an event about as long as that of a token that was issued, ".repeat(4) },
    }
}

/// A code that was issued, and its family.
type Code = (String, FamilyId);

/// What the workers share.
struct Field {
    store: Store,
    raw: Raw,
    codes: Mutex<VecDeque<Code>>,
    families: Vec<(FamilyId, AtomicI64)>,
    client_id: ClientId,
    /// Who grants: many people, since each redemption holds its person's account.
    people: Vec<Subject>,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Code,
    RefreshToken,
    /// Transactions of so many inserts.
    Commit(usize),
}

impl Field {
    async fn issue(&self) -> anyhow::Result<Code> {
        let family = FamilyId::random(&SystemRandomness)?;
        let code = uuid::Uuid::new_v4().to_string();
        let subject = self.people.first().context("people")?;
        let new = NewCode { code: &code, family: &family, subject, session: None, state: &STATE, expires: LATER };
        self.store.issue_code(&new, &Finishes::default(), &event()).await?;
        Ok((code, family))
    }

    async fn redeem(&self, (code, family): &Code) -> anyhow::Result<()> {
        let number = usize::from_str_radix(code.get(..4).unwrap_or_default(), 16).context("a code in hexadecimal")?;
        let family = NewFamily {
            parent: None,
            family,
            client_id: &self.client_id,
            subject: self.people.get(number % self.people.len().max(1)).context("people")?,
            session: None,
            state: &STATE,
            created: NOW,
            expires: LATER,
        };
        let record = self.store.code(code, NOW).await?.context("the code is there")?;
        ensure!(record.redeemed.is_none() && record.state.len() == STATE.len());
        let spent = self.store.redeem_code(code, NOW, Some(&family), &[event()]).await?;
        ensure!(spent == CodeSpent::Now, "{spent:?}");
        Ok(())
    }

    /// One piece of work of a worker; `false` when there is nothing left to do.
    async fn once(&self, work: Work, worker: usize) -> anyhow::Result<bool> {
        match work {
            Work::Commit(statements) => self.raw.commit(statements).await?,
            Work::Code => {
                let code = self.codes.lock().map_err(|_| anyhow::anyhow!("a lock"))?.pop_front();
                let Some(code) = code else { return Ok(false) };
                self.redeem(&code).await?;
            }
            Work::RefreshToken => {
                let (family, generation) = self.families.get(worker).context("a family")?;
                let present = generation.load(Ordering::Relaxed);
                let record = self.store.family(family, NOW).await?.context("the family is there")?;
                ensure!(record.generation == present && record.state.len() == STATE.len());
                let rotated = self.store.rotate_family(family, present, NOW, &[event()]).await?;
                ensure!(rotated == Rotated::To(present + 1), "{rotated:?}");
                generation.store(present + 1, Ordering::Relaxed);
            }
        }
        Ok(true)
    }
}

/// Pieces of work per second.
async fn rate(field: &Arc<Field>, work: Work, workers: usize, seconds: f64) -> anyhow::Result<f64> {
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(seconds);
    let tasks: Vec<_> = (0..workers)
        .map(|worker| {
            let (field, done) = (field.clone(), done.clone());
            tokio::spawn(async move {
                while Instant::now() < end && field.once(work, worker).await? {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}

/// Issues codes, so many that none is missing when they are redeemed.
async fn stock(field: &Arc<Field>, wanted: usize, workers: usize) -> anyhow::Result<()> {
    let missing = wanted.saturating_sub(field.codes.lock().map_err(|_| anyhow::anyhow!("a lock"))?.len());
    let tasks: Vec<_> = (0..workers)
        .map(|_| {
            let field = field.clone();
            tokio::spawn(async move {
                for _ in 0..missing.div_ceil(workers) {
                    let code = field.issue().await?;
                    field.codes.lock().map_err(|_| anyhow::anyhow!("a lock"))?.push_back(code);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

pub async fn measure(options: &Options, engine: Engine) -> anyhow::Result<Vec<Row>> {
    let workers = options.workers;
    let Some(place) = engine::place(engine, workers).await? else { return Ok(vec![]) };
    let raw = place.raw(workers).await?;
    raw.make_floor().await?;
    let parsed = || anyhow::anyhow!("an identifier");
    let mut field = Field {
        store: place.store.clone(),
        raw,
        codes: Mutex::default(),
        families: vec![],
        client_id: "bench".parse().map_err(|_| parsed())?,
        people: vec![],
    };
    for number in 0..PEOPLE {
        let name = format!("bench-{number}");
        let subject: Subject = name.parse().map_err(|_| parsed())?;
        let new = NewAccount { subject: &subject, username: &name, profile: b"{}", password: None };
        let key = PersonKey::random(&SystemRandomness)?;
        place.keys.add(&place.keys.seal_key(&subject, &key)?, NOW).await?;
        field.store.add_account(&new, &key, NOW).await?;
        field.people.push(subject);
    }
    for _ in 0..workers {
        let code = field.issue().await?;
        field.redeem(&code).await?;
        field.families.push((code.1, AtomicI64::new(1)));
    }
    let field = Arc::new(field);
    let works = [
        ("code redeemed", Work::Code),
        ("refresh token rotated", Work::RefreshToken),
        ("engine: one insert, committed", Work::Commit(1)),
        ("engine: two inserts, committed", Work::Commit(2)),
        ("engine: three inserts, committed", Work::Commit(3)),
    ];
    let mut figures = vec![Vec::new(); works.len()];
    let mut most = 200.0_f64;
    for round in 0..options.rounds {
        // Forwards and backwards by turns.
        let order: Vec<usize> = if round % 2 == 0 { (0..works.len()).collect() } else { (0..works.len()).rev().collect() };
        for at in order {
            let (Some((_, work)), Some(figures)) = (works.get(at), figures.get_mut(at)) else { continue };
            if matches!(work, Work::Code) {
                stock(&field, (most * options.seconds * 2.0) as usize, workers).await?;
            }
            let figure = rate(&field, *work, workers, options.seconds).await?;
            most = most.max(figure);
            figures.push(figure);
        }
    }
    let mut rows: Vec<Row> =
        works.iter().zip(&figures).map(|((name, _), figures)| Row::new(engine.name(), name, Unit::PerSecond, figures)).collect();
    // A redemption writes three rows, a rotation two.
    for (subject, floors) in [(0, [2, 4]), (1, [2, 3])] {
        for floor in floors {
            let (Some(own), Some(others), Some(what)) = (figures.get(subject), figures.get(floor), works.get(floor)) else {
                continue;
            };
            if let Some(row) = rows.get_mut(subject) {
                row.beside(what.0, own, others);
            }
        }
    }
    rows.push(memory(options, &field, engine).await?);
    place.store.close().await;
    Ok(rows)
}

/// Resident memory while refresh tokens are rotated without pause: at the beginning, when everything was used once, and at the end.
async fn memory(options: &Options, field: &Arc<Field>, engine: Engine) -> anyhow::Result<Row> {
    let mut figures = vec![resident_mib()?];
    let mut done = 0.0;
    for _ in 0..4 {
        done += rate(field, Work::RefreshToken, options.workers, options.soak / 4.0).await? * options.soak / 4.0;
        figures.push(resident_mib()?);
    }
    let (first, last) = (figures.first().copied().unwrap_or_default(), figures.last().copied().unwrap_or_default());
    let mut row = Row::new(engine.name(), &format!("memory over {done:.0} rotations"), Unit::Mebibytes, &figures);
    row.remark = format!("{first:.1} MiB at first, {last:.1} at last");
    Ok(row)
}
