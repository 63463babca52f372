//! Whatever field a refusal names is one of the request: checked in every call of every test.

use std::sync::LazyLock;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use plazo_proto::FILE_DESCRIPTOR_SET;
use plazo_service::status::violations_of;
use prost::Message as _;
use prost_types::field_descriptor_proto::Label;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::{Channel, Error};

static PROTOS: LazyLock<FileDescriptorSet> =
    LazyLock::new(|| FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors"));

/// A connection that panics at a refusal whose fields are not the request's.
#[derive(Debug, Clone)]
pub(crate) struct FieldCheck(pub(crate) Channel);

impl Service<http::Request<Body>> for FieldCheck {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().to_owned();
        let answer = self.0.call(request);
        async move {
            let answer = answer.await?;
            // A refusal has no body, so its status is in the headers.
            let status = Status::from_header_map(answer.headers());
            for (field, _) in status.iter().flat_map(violations_of) {
                assert!(is_field(&method, &field), "{method} has no field {field}");
            }
            Ok(answer)
        }
        .boxed()
    }
}

/// Whether a path such as `policy.auto_close.tags[2]` leads to a field of the method's request.
fn is_field(method: &str, path: &str) -> bool {
    let Some(request) = request_of(method) else {
        return false;
    };
    let mut message = Some(request);
    for segment in path.split('.') {
        let Some(within) = message else { return false };
        let (name, is_indexed) = match segment.split_once('[') {
            None => (segment, false),
            Some((name, index)) => {
                let index = index.strip_suffix(']').map(str::parse::<usize>);
                if !matches!(index, Some(Ok(_))) {
                    return false;
                }
                (name, true)
            }
        };
        let Some(field) = within.field.iter().find(|field| field.name() == name) else {
            return false;
        };
        let is_repeated = field.label() == Label::Repeated;
        if is_indexed && !is_repeated {
            return false;
        }
        message = (is_indexed == is_repeated)
            .then(|| message_of(field))
            .flatten();
    }
    true
}

fn message_of(field: &FieldDescriptorProto) -> Option<&'static DescriptorProto> {
    find(field.type_name())
}

fn request_of(method: &str) -> Option<&'static DescriptorProto> {
    let (service, method) = method.strip_prefix('/')?.split_once('/')?;
    let (package, service) = service.rsplit_once('.')?;
    let files = PROTOS.file.iter().filter(|file| file.package() == package);
    let mut services = files.flat_map(|file| &file.service);
    let service = services.find(|it| it.name() == service)?;
    let method = service.method.iter().find(|it| it.name() == method)?;
    find(method.input_type())
}

fn find(full_name: &str) -> Option<&'static DescriptorProto> {
    let (package, name) = full_name.strip_prefix('.')?.rsplit_once('.')?;
    let files = PROTOS.file.iter().filter(|file| file.package() == package);
    let mut messages = files.flat_map(|file| &file.message_type);
    messages.find(|message| message.name() == name)
}

#[test]
fn fields_are_told_from_what_is_none() {
    let method = "/plazo.ticketing.v1.SettingsService/CreateCalendar";
    for field in [
        "request_id",
        "calendar",
        "calendar.week",
        "calendar.week[3]",
        "calendar.week[0].open.end_minute",
        "calendar.exceptions[11].open[2].start_minute",
    ] {
        assert!(is_field(method, field), "{field}");
    }
    for field in [
        "",
        "week",
        "calendar.",
        "calendar.week[0].end_minute",
        "calendar.week.open",
        "calendar.week[x]",
        "calendar.week[0",
        "calendar[0]",
        "calendar.name[0]",
        "calendar.name.length",
    ] {
        assert!(!is_field(method, field), "{field}");
    }
    assert!(!is_field(
        "/plazo.ticketing.v1.SettingsService/Nothing",
        "request_id"
    ));
}
