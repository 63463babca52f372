//! Calls of any RPC with the bytes of a message, and all that comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use http::uri::PathAndQuery;
use plazo_service::status::reason_of;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// How long an open stream may say nothing before its answer counts as complete.
const SILENCE: Duration = Duration::from_millis(500);
/// How long any other answer may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// All that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: Code,
    /// The reason of the `ErrorInfo`; empty without one.
    pub(super) reason: String,
    pub(super) text: String,
    pub(super) details: Vec<u8>,
    /// What a stream has sent until it ended or fell silent; one message of any other RPC.
    pub(super) messages: Vec<Vec<u8>>,
    /// Headers and trailers.
    pub(super) metadata: String,
}

impl Answer {
    fn add_metadata(&mut self, metadata: &tonic::metadata::MetadataMap) {
        let text = format!("{metadata:?}");
        self.metadata.push_str(&text);
    }

    /// As the table of rights writes it: `OK`, or code and reason.
    pub(super) fn outcome(&self) -> String {
        match (self.code, self.reason.as_str()) {
            (Code::Ok, _) => "OK".to_owned(),
            (code, reason) => format!("{}:{reason}", name_of(code)),
        }
    }

    /// Every byte of it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut all = self.messages.concat();
        all.extend(self.text.as_bytes());
        all.extend(&self.details);
        all.extend(self.metadata.as_bytes());
        all
    }
}

fn name_of(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::AlreadyExists => "ALREADY_EXISTS",
        other => other.description(),
    }
}

/// The path of every RPC that the protos have, and whether it answers with a stream.
pub(super) fn rpcs() -> BTreeMap<String, bool> {
    let set = FileDescriptorSet::decode(plazo_proto::FILE_DESCRIPTOR_SET).expect("a set");
    let mut rpcs = BTreeMap::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                rpcs.insert(path, method.server_streaming());
            }
        }
    }
    rpcs
}

/// Makes a call of any kind with one message.
pub(super) async fn call(
    channel: &Channel,
    path: &str,
    is_stream: bool,
    message: Vec<u8>,
    metadata: &[(&'static str, String)],
) -> Answer {
    let mut request = Request::new(tokio_stream::once(message));
    request.set_timeout(DEADLINE);
    for (key, value) in metadata {
        let value = value.parse().expect("a header value");
        request.metadata_mut().insert(*key, value);
    }
    let silence = if is_stream { SILENCE } else { DEADLINE };
    let mut answer = Answer {
        code: Code::Ok,
        reason: String::new(),
        text: String::new(),
        details: Vec::new(),
        messages: Vec::new(),
        metadata: String::new(),
    };
    if let Err(status) = receive(channel, path, request, silence, &mut answer).await {
        answer.code = status.code();
        answer.reason = reason_of(&status).unwrap_or_default();
        status.message().clone_into(&mut answer.text);
        answer.details = status.details().to_vec();
        answer.add_metadata(status.metadata());
    }
    answer
}

async fn receive(
    channel: &Channel,
    path: &str,
    request: Request<impl tokio_stream::Stream<Item = Vec<u8>> + Send + 'static>,
    silence: Duration,
    answer: &mut Answer,
) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client
        .ready()
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    let path = PathAndQuery::try_from(path).expect("a path");
    let response = client.streaming(request, path, Raw).await?;
    answer.add_metadata(response.metadata());
    let mut messages = response.into_inner();
    while let Ok(message) = tokio::time::timeout(silence, messages.message()).await {
        let Some(message) = message? else {
            if let Some(trailers) = messages.trailers().await? {
                answer.add_metadata(&trailers);
            }
            break;
        };
        answer.messages.push(message);
    }
    Ok(())
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
