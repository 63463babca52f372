//! Tokens of the command.

use std::path::Path;

use plazo::cluster::Service;
use plazo_proto::ticketing::v1::ListBotsRequest;
use plazo_proto::ticketing::v1::settings_service_client::SettingsServiceClient;
use tonic::{Code, Request};

use super::desk::Desk;
use crate::plazo::command;

/// The command makes tokens for the cluster whose data are in a folder.
pub(super) async fn come_from_the_command(desk: &Desk, folder: &Path) {
    let data = folder.to_str().expect("a path in UTF-8");
    let run = async |more: &[&str]| {
        let arguments = [&["token", "--data", data], more].concat();
        let output = command(&arguments).output().await.expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text").trim().to_owned();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let list = async |token: &str| {
        let mut settings = SettingsServiceClient::new(desk.channel(Service::Ticketing));
        let request = bearing(ListBotsRequest::default(), token);
        settings
            .list_bots(request)
            .await
            .map(|answer| answer.into_inner().bots.len())
    };
    let rights = "--permissions=helpdesk:view,tickets:attend";
    let (code, token, _) = run(&["--tenant", "1", "--administrator", "1", rights]).await;
    assert_eq!(code, Some(0));
    assert!(list(&token).await.expect("it is let in") >= 1);
    let (_, token, _) = run(&["--tenant", "1", "--agent", "1", "--bots", "7", rights]).await;
    assert_eq!(list(&token).await.expect("it is let in"), 0);
    let (_, token, _) = run(&["--tenant", "1", "--bot", "1", "--ttl", "5m"]).await;
    let refused = list(&token).await.expect_err("it has no right");
    assert_eq!(refused.code(), Code::PermissionDenied);

    for (wrong, told) in [
        (&["--tenant", "1"][..], "--agent"),
        (&["--tenant", "0", "--bot", "1"], "--tenant"),
        (&["--tenant", "1", "--bot", "1", "--agent", "1"], "--agent"),
        (
            &["--tenant", "1", "--bot", "1", "--permissions", "service"],
            "no token makes a service",
        ),
        (&["--tenant", "1", "--bot", "1", "--ttl", "1"], "15m"),
    ] {
        let (code, token, stderr) = run(wrong).await;
        assert_eq!((code, token.as_str()), (Some(64), ""), "{wrong:?}");
        assert!(stderr.contains(told), "{stderr}");
    }
    let elsewhere = tempfile::tempdir().expect("a folder");
    let elsewhere = elsewhere.path().to_str().expect("a path in UTF-8");
    let arguments = ["token", "--data", elsewhere, "--tenant", "1", "--bot", "1"];
    let output = command(&arguments).output().await.expect("it runs");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(stderr.contains("plazo up --data"), "{stderr}");

    let key = folder.join("issuer/key.der");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(key).expect("the key").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "nobody else may read the key");
}

fn bearing<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("a header value");
    request.metadata_mut().insert("authorization", value);
    request
}
