//! Time, for limits and for how long things took. Nothing that ends up in an image reads a clock.

pub use std::time::Instant;

/// Seconds since 1970-01-01T00:00:00Z, for comparing with the dates of signatures and releases.
#[must_use]
pub fn unix_now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}

/// Waits.
pub fn sleep(duration: std::time::Duration) {
    std::thread::sleep(duration);
}
