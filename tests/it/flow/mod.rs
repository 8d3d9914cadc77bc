//! Journeys, in numbered steps.
