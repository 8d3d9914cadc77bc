//! The database as the memory of what was used: every replica asks the same one.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::binding::replay::{Claim, Replay, ReplayKey};
use crate::domain::Timestamp;
use crate::store::{Claimed, Store};

impl Replay for Store {
    fn claim<'a>(&'a self, key: &'a ReplayKey, until: Timestamp) -> BoxFuture<'a, Claim> {
        async move {
            match Store::claim(self, key.purpose(), key.value(), until).await {
                Ok(Claimed::First) => Claim::First,
                Ok(Claimed::Seen) => Claim::Seen,
                Err(problem) => {
                    tracing::warn!(%problem, purpose = key.purpose(), "cannot tell whether this was used before: it is not taken");
                    Claim::Unavailable
                }
            }
        }
        .boxed()
    }
}
