//! What the command says to arguments and circumstances.

use crate::plazo::{command, free_base_port, run};

#[tokio::test]
async fn bad_arguments_are_one_thing_and_bad_luck_another() {
    for (arguments, part) in [
        (&["nonsense"][..], "nonsense"),
        (&["up", "--port", "70000"], "--port"),
        (&["up", "--port", "64000"], "--port 64000 is too high"),
        (&["up", "--log-filter", "plazo=loud"], "log_filter"),
        (
            &["up", "--database-url", "mysql://db", "--port", "0"],
            "--database-url",
        ),
        (&["demo", "--speed", "3"], "use 1 or 5"),
        (&["demo", "--only", "nobody"], "silence, answer"),
        (&["demo", "--endpoint", "127.0.0.1:5001"], "is no address"),
        (&["demo", "--endpoint", "http://h", "--port", "1"], "--port"),
        (&["seed", "--tickets", "0"], "--tickets must be"),
        (
            &["seed", "--tickets", "5", "--contacts", "6"],
            "--contacts must be",
        ),
        (&["seed", "--agents", "3"], "one for each bot"),
        (&["seed", "--from", "yesterday"], "as in 2026-01-31"),
        (
            &["seed", "--from", "2026-01-02", "--until", "2026-01-02"],
            "--from must be",
        ),
        (&["seed", "--database-url", "mysql://db"], "--database-url"),
    ] {
        refused(arguments, part).await;
    }
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["demo", "--help"],
        &["up", "--help"],
        &["load", "--help"],
        &["load", "handler", "--help"],
        &["seed", "--help"],
    ] {
        let ended = run(command(arguments)).await;
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[tokio::test]
async fn bad_arguments_of_the_load_are_told() {
    for (arguments, part) in [
        (&["load", "--rate", "0"][..], "--rate must be"),
        (&["load", "--tickets", "5", "--duration", "1s"], "--tickets"),
        (&["load", "--duration", "5"], "as in 500ms"),
        (&["load", "--timer", "http://h:1"], "--serve-handler"),
        (&["load", "--rate-to", "5"], "--shape ramp"),
        (
            &["load", "--ticketing", "http://h:1"],
            "--handler ticketing",
        ),
        (
            &["load", "--handler", "ticketing", "--ahead", "1.5s"],
            "whole seconds",
        ),
        (
            &[
                "load",
                "--timer",
                "nowhere",
                "--serve-handler",
                "127.0.0.1:0",
            ],
            "is no address",
        ),
    ] {
        refused(arguments, part).await;
    }
}

#[tokio::test]
async fn bad_credentials_of_the_load_are_told() {
    for (arguments, part) in [
        (
            &["load", "--certificate-file", "tls.crt"][..],
            "--key-file <FILE>",
        ),
        (
            &[
                "load",
                "--certificate-file",
                "a",
                "--key-file",
                "b",
                "--roots-file",
                "c",
            ],
            "--certificate-file is for a given cluster",
        ),
        (&["load", "--token-file", "tokens"], "--ticketing <URL>"),
        (
            &[
                "load",
                "--handler",
                "ticketing",
                "--ticketing",
                "https://h:1",
            ],
            "--ticketing begins with https",
        ),
        (
            &[
                "load",
                "--handler",
                "ticketing",
                "--ticketing",
                "http://h:1",
                "--token-file",
                "/nowhere",
            ],
            "--token-file /nowhere: ",
        ),
        (
            &[
                "load",
                "--timer",
                "http://h:1",
                "--serve-handler",
                "127.0.0.1:0",
                "--certificate-file",
                "a",
                "--key-file",
                "b",
                "--roots-file",
                "c",
            ],
            "does not begin with https",
        ),
        (
            &[
                "load",
                "--timer",
                "https://h:1",
                "--serve-handler",
                "127.0.0.1:0",
                "--certificate-file",
                "a",
                "--key-file",
                "b",
                "--roots-file",
                "c",
            ],
            "--server-identity must be given",
        ),
        (
            &[
                "load",
                "--timer",
                "https://h:1",
                "--serve-handler",
                "127.0.0.1:0",
                "--certificate-file",
                "/nowhere",
                "--key-file",
                "b",
                "--roots-file",
                "c",
                "--server-identity",
                "urn:timer",
            ],
            "the files of --certificate-file",
        ),
    ] {
        refused(arguments, part).await;
    }
}

async fn refused(arguments: &[&str], part: &str) {
    let ended = run(command(arguments)).await;
    assert_eq!(ended.code, Some(64), "{arguments:?}: {}", ended.stderr);
    assert!(
        ended.stderr.contains(part),
        "{arguments:?}: {}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_demo_without_a_cluster_says_what_to_do() {
    let port = free_base_port().to_string();
    let ended = run(command(&["demo", "--port", &port])).await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    let start = format!("plazo: no cluster answers at http://127.0.0.1:{port} ");
    assert!(ended.stderr.starts_with(&start), "{}", ended.stderr);
    assert!(ended.stderr.contains("`plazo up`"), "{}", ended.stderr);
}
