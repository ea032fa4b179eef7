//! The gRPC contracts of Relay.
//!
//! `admin::v1` is the plane that operators, the console and scripts use; `fleet::v1` is how a
//! provider's agent meets relayd. The files under `proto/`
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

/// What a provider's agent and relayd say to each other.
pub mod fleet {
    /// Version 1.
    #[expect(
        missing_docs,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated; the protocol files carry the documentation"
    )]
    pub mod v1 {
        tonic::include_proto!("relay.fleet.v1");
    }
}

pub use json::Word;

/// The descriptors of the admin plane's files, encoded as a `FileDescriptorSet`: what server reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
