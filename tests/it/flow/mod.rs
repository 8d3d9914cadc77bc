//! Journeys, in numbered steps.

mod compose;
mod readme;
