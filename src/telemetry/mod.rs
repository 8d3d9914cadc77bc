//! What a process tells about itself: the log, the metrics, the audit trail.

pub mod audit;
pub mod log;
pub mod metrics;
