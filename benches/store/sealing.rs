//! Sealing and opening a row of 1 KiB, beside the primitive with the same key, nonce source and associated data.

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use chacha20poly1305::aead::{Aead as _, Generate as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use symbolon::domain::{DeploymentId, Redacted};
use symbolon::seal::{DataKey, KeyRing, RowContext};

use crate::report::{Row, Spread, Unit};

/// Bytes that are sealed.
const SIZE: usize = 1024;
/// Operations between two readings of the clock: so few that hardly ever another process has its turn within.
const SLICE: u32 = 20;
/// Slices in a round, by turns.
const SLICES: usize = 1_000;

pub fn measure(rounds: usize) -> anyhow::Result<Vec<Row>> {
    let key = [9u8; 32];
    let data_key = |id: &str, key| anyhow::Ok(DataKey { id: id.parse()?, key: Redacted::new(key) });
    let ring = KeyRing::new(&data_key("bench", key)?, &[], &data_key("lasting", [8; 32])?);
    let deployment: DeploymentId = "AAAAAAAAAAAAAAAAAAAAAA".parse().map_err(|_| anyhow::anyhow!("a deployment"))?;
    let context =
        RowContext { deployment: &deployment, table: "grant_family", column: "state_sealed", row: "AAAAAAAAAAAAAAAAAAAAAA" };
    let plaintext = vec![0x5a; SIZE];
    let sealed = ring.seal_row(&context, &plaintext)?;
    ensure!(*ring.open_row(&context, &sealed)? == plaintext);
    // As long as what the envelope binds: header, four parts, their lengths.
    let associated = vec![1u8; 8 + 16 + 22 + 12 + 12 + 22];
    let cipher = || XChaCha20Poly1305::new((&key).into());
    let nonce = XNonce::try_generate().map_err(|_| anyhow::anyhow!("randomness"))?;
    let payload = |msg| Payload { msg, aad: &associated };
    let ciphertext = cipher().encrypt(&nonce, payload(&plaintext)).map_err(|_| anyhow::anyhow!("sealed"))?;

    let seal = || drop(black_box(ring.seal_row(&context, black_box(&plaintext))));
    let bare_seal = || drop(black_box(cipher().encrypt(&nonce, payload(black_box(&plaintext)))));
    let fresh_seal = || {
        if let Ok(nonce) = XNonce::try_generate() {
            drop(black_box(cipher().encrypt(&nonce, payload(black_box(&plaintext)))));
        }
    };
    let open = || drop(black_box(ring.open_row(&context, black_box(&sealed))));
    let bare_open = || drop(black_box(cipher().decrypt(&nonce, payload(black_box(&ciphertext)))));
    Ok([
        beside(
            "seal 1 KiB",
            rounds,
            &seal,
            &[("primitive with a fresh nonce", &fresh_seal), ("primitive alone, one nonce", &bare_seal)],
        ),
        beside("open 1 KiB", rounds, &open, &[("primitive", &bare_open)]),
    ]
    .concat())
}

type Operation<'a> = &'a dyn Fn();

/// The subject and its floors by turns, slice by slice. A round's figure is the median of its slices: what another process takes from one
/// of them does not count.
fn beside(name: &str, rounds: usize, subject: Operation<'_>, floors: &[(&str, Operation<'_>)]) -> Vec<Row> {
    let all: Vec<(&str, Operation<'_>)> = std::iter::once((name, subject)).chain(floors.iter().copied()).collect();
    let mut figures = vec![Vec::new(); all.len()];
    for _ in 0..rounds {
        let mut slices = vec![Vec::new(); all.len()];
        for _ in 0..SLICES {
            for ((_, operation), slices) in all.iter().zip(&mut slices) {
                let started = Instant::now();
                (0..SLICE).for_each(|_| operation());
                slices.push(f64::from(SLICE) / started.elapsed().as_secs_f64());
            }
        }
        for (figures, slices) in figures.iter_mut().zip(slices) {
            figures.push(Spread::of(slices).median);
        }
    }
    let mut rows: Vec<Row> =
        all.iter().zip(&figures).map(|((name, _), figures)| Row::new("", name, Unit::PerSecond, figures)).collect();
    if let [subject, floors @ ..] = rows.as_mut_slice() {
        for (floor, own) in floors.iter().zip(figures.iter().skip(1)) {
            let subject_figures = figures.first().map(Vec::as_slice).unwrap_or_default();
            subject.beside(&floor.what, subject_figures, own);
        }
    }
    rows
}
