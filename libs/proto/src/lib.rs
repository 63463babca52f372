//! The generated messages, clients and servers of `proto/`, and nothing else.
//!
//! The modules follow the packages: `plazo.ticketing.v1` is [`ticketing::v1`]. Shapes, units, ranges and errors are
//! described in the protos.

#[expect(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated code does not inherit the lints"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/plazo.rs"));
}

pub use generated::plazo::{common, history, notification, ticketing, timer};

/// The encoded `google.protobuf.FileDescriptorSet` of all protos and what they import, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
