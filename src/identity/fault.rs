use crate::domain::{ClockUnreadable, RandomnessUnavailable};
use crate::event::Reason;
use crate::store::StoreError;

/// What this room could not do, though nobody did anything wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something it depends on does not answer, or too much is asked at once: it may work in a moment.
    #[error("not available now: {0}")]
    Unavailable(Reason),
    /// A bug, or a state that should not be.
    #[error("defect: {0}")]
    Defect(Reason),
}

impl Fault {
    /// The private reason.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Unavailable(reason) | Self::Defect(reason) => reason,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let reason = error.reason();
        match error {
            StoreError::Unavailable(_) | StoreError::File(_) | StoreError::Randomness(_) => Self::Unavailable(reason),
            _ => {
                tracing::error!(%error, "the store");
                Self::Defect(reason)
            }
        }
    }
}

impl From<ClockUnreadable> for Fault {
    fn from(_: ClockUnreadable) -> Self {
        Self::Unavailable(Reason::ClockUnreadable)
    }
}

impl From<RandomnessUnavailable> for Fault {
    fn from(_: RandomnessUnavailable) -> Self {
        Self::Unavailable(Reason::RandomnessUnavailable)
    }
}
