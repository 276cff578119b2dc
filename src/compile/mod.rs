//! x
pub mod wrapper;
