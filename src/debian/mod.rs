//! Placeholder.
pub mod error;
pub mod index;
pub mod keys;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod sources;
#[cfg(test)]
mod testing;
pub mod certificates {
    #[derive(Debug, thiserror::Error)]
    #[error("x")]
    pub struct CertificateError;
}
pub mod tree {
    #[derive(Debug, thiserror::Error)]
    #[error("x")]
    pub struct TreeError;
}
pub mod unpack {
    #[derive(Debug, thiserror::Error)]
    #[error("x")]
    pub struct UnpackError;
}
