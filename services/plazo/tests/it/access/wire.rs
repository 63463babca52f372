//! Every call that there is, made from the descriptor set alone.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use http::uri::PathAndQuery;
use plazo_service::status::reason_of;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use uuid::Uuid;

/// How long an open stream may say nothing before that counts as an answer.
const SILENCE: Duration = Duration::from_millis(500);
/// Messages within messages that are filled.
const MAX_DEPTH: u32 = 4;
/// Texts that are left empty: what is in them must have come from a server.
const OPAQUE: [&str; 3] = ["page_token", "etag", "order_by"];

/// One RPC.
#[derive(Debug, Clone)]
pub(super) struct Rpc {
    /// `/package.Service/Method`
    pub(super) path: String,
    input: String,
}

/// All RPCs, and the shapes of their requests.
pub(super) struct Api {
    pub(super) rpcs: Vec<Rpc>,
    messages: HashMap<String, DescriptorProto>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: Code,
    pub(super) reason: Option<String>,
    pub(super) text: String,
    pub(super) bytes: Vec<u8>,
}

impl Answer {
    /// Whether the actor's permissions were not enough for the method.
    pub(super) fn is_denied(&self) -> bool {
        self.reason.as_deref() == Some("PERMISSION_DENIED")
            && self.text == "the actor may not call this method"
    }
}

impl Api {
    pub(super) fn read() -> Self {
        let set = FileDescriptorSet::decode(plazo_proto::FILE_DESCRIPTOR_SET).expect("a set");
        let mut rpcs = Vec::new();
        let mut messages = HashMap::new();
        for file in set.file {
            let package = file.package().to_owned();
            for service in &file.service {
                for method in &service.method {
                    rpcs.push(Rpc {
                        path: format!("/{package}.{}/{}", service.name(), method.name()),
                        input: method.input_type().to_owned(),
                    });
                }
            }
            for message in file.message_type {
                keep(&format!(".{package}"), message, &mut messages);
            }
        }
        Self { rpcs, messages }
    }

    /// A request of an RPC in which every field has a value; ids are those that `id` says by the name of the field.
    pub(super) fn request(&self, rpc: &Rpc, id: &dyn Fn(&str) -> i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.fill(&rpc.input, id, 0, &mut bytes);
        bytes
    }

    fn fill(&self, name: &str, id: &dyn Fn(&str) -> i64, depth: u32, out: &mut Vec<u8>) {
        match name {
            ".google.protobuf.Duration" => return varint_field(1, 60, out),
            ".google.protobuf.Timestamp" => return varint_field(1, 1_800_000_000, out),
            // All that may be changed.
            ".google.protobuf.FieldMask" => return,
            _ => {}
        }
        let message = &self.messages[name];
        let mut oneofs = Vec::new();
        for field in &message.field {
            if let Some(oneof) = field.oneof_index
                && !field.proto3_optional()
            {
                if oneofs.contains(&oneof) {
                    continue;
                }
                oneofs.push(oneof);
            }
            self.fill_field(field, id, depth, out);
        }
    }

    fn fill_field(
        &self,
        field: &FieldDescriptorProto,
        id: &dyn Fn(&str) -> i64,
        depth: u32,
        out: &mut Vec<u8>,
    ) {
        let number = field.number().unsigned_abs();
        let name = field.name();
        match field.r#type() {
            Type::String if OPAQUE.contains(&name) => {}
            Type::String if name == "request_id" => {
                bytes_field(number, Uuid::new_v4().to_string().as_bytes(), out);
            }
            Type::String => bytes_field(number, b"x", out),
            Type::Message => {
                let kind = field.type_name();
                let is_map = self.messages.get(kind).is_some_and(|message| {
                    message
                        .options
                        .as_ref()
                        .is_some_and(prost_types::MessageOptions::map_entry)
                });
                if depth < MAX_DEPTH && !is_map {
                    let mut inner = Vec::new();
                    self.fill(kind, id, depth + 1, &mut inner);
                    bytes_field(number, &inner, out);
                }
            }
            Type::Int64 | Type::Int32 | Type::Uint64 | Type::Uint32 => {
                let singular = name.strip_suffix('s').unwrap_or(name);
                let is_id = singular == "id" || singular.ends_with("_id");
                let value = if is_id { id(singular) } else { 1 };
                varint_field(number, value.unsigned_abs(), out);
            }
            Type::Enum => varint_field(number, 1, out),
            // Nothing is switched on.
            _ => debug_assert!(field.label() != Label::Required),
        }
    }
}

fn keep(prefix: &str, message: DescriptorProto, all: &mut HashMap<String, DescriptorProto>) {
    let name = format!("{prefix}.{}", message.name());
    for nested in &message.nested_type {
        keep(&name, nested.clone(), all);
    }
    all.insert(name, message);
}

fn varint_field(number: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3, out);
    varint(value, out);
}

fn bytes_field(number: u32, value: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn varint(value: u64, out: &mut Vec<u8>) {
    prost::encoding::encode_varint(value, out);
}

/// Makes a call of any kind with one message, and returns the first answer.
pub(super) async fn call(
    channel: &Channel,
    rpc: &Rpc,
    message: Vec<u8>,
    metadata: &[(&'static str, &str)],
) -> Answer {
    let mut request = Request::new(tokio_stream::once(message));
    request.set_timeout(Duration::from_secs(10));
    for (key, value) in metadata {
        let value = value.parse().expect("a header value");
        request.metadata_mut().insert(*key, value);
    }
    let mut client = tonic::client::Grpc::new(channel.clone());
    let path = PathAndQuery::try_from(rpc.path.as_str()).expect("a path");
    let answered = async {
        client
            .ready()
            .await
            .map_err(|error| Status::unknown(error.to_string()))?;
        let mut messages = client.streaming(request, path, Raw).await?.into_inner();
        match tokio::time::timeout(SILENCE, messages.message()).await {
            Ok(message) => message,
            Err(_) => Ok(None),
        }
    };
    match answered.await {
        Ok(message) => Answer {
            code: Code::Ok,
            reason: None,
            text: String::new(),
            bytes: message.unwrap_or_default(),
        },
        Err(status) => Answer {
            code: status.code(),
            reason: reason_of(&status),
            text: status.message().to_owned(),
            bytes: Vec::new(),
        },
    }
}

/// Messages as they are on the wire.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length).to_vec()))
    }
}
