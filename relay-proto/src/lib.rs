//! The gRPC contracts of Relay.
//!
//! `admin::v1` is the plane that operators, the console and scripts use. The files under `proto/`
//! are the source; this crate holds what is generated from them, the descriptors that server
//! reflection serves, and the JSON form of enum values. It knows nothing of relayd.

mod json;

/// The admin plane.
pub mod admin {
    /// Version 1.
    #[expect(
        missing_docs,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated; the protocol files carry the documentation"
    )]
    pub mod v1 {
        tonic::include_proto!("relay.admin.v1");
    }
}

pub use json::Word;

/// Every file's descriptor, encoded as a `FileDescriptorSet`: what server reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
