//! A mail server that keeps to RFC 5321: the order of commands, their codes, authentication, the dots. It counts a
//! second copy of a mail by its Message-ID. Written on the bare socket, so that it can answer and be cut as it likes.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plazo_proto::common::v1::Channel;
use plazo_proto::notification::v1::channel_account::Settings;
use plazo_proto::notification::v1::{
    ActiveMessage, ChannelAccount, CreateChannelAccountRequest, EmailSettings, SmtpTls,
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tonic::Status;

use super::{Api, TENANT, World, administrator, spawn};

pub(crate) const USER: &str = "desk@example.com";
pub(crate) const PASSWORD: &str = "a pass word";
pub(crate) const CREDENTIAL: &str = "mailbox-1";

/// Where something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Greeting,
    Ehlo,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// The final dot was read, and the mail is not taken.
    Dot,
}

/// What the next one who comes to a step meets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// A code in place of the usual one.
    Reply(Step, u16),
    /// The connection is cut in place of an answer.
    Cut(Step),
    /// The mail is taken, and the connection is cut before the answer.
    CutAfterTaking,
    /// The mail is taken, and the answer never comes.
    Hold,
}

/// A mail as it was taken.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) from: String,
    pub(crate) to: String,
    /// Headers and body, with the dots as they were.
    pub(crate) content: String,
}

/// The stand-in.
#[derive(Clone)]
pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    hang_up: Arc<Notify>,
    release: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    faults: VecDeque<Fault>,
    connections: usize,
    attempts_to_log_in: usize,
    taken: BTreeMap<String, Taken>,
    copies: usize,
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let it = Self {
            address: listener.local_addr().expect("it is bound"),
            state: Arc::default(),
            hang_up: Arc::default(),
            release: Arc::new(Semaphore::new(0)),
        };
        let accepting = it.clone();
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let it = accepting.clone();
                spawn(async move {
                    it.state(|state| state.connections += 1);
                    let hang_up = it.hang_up.notified();
                    tokio::select! {
                        () = hang_up => {}
                        _ = it.serve(BufReader::new(stream)) => {}
                    }
                });
            }
        });
        it
    }

    /// A world whose service may send here, and finds the credential in the folder.
    pub(crate) async fn world(&self, folder: &Path) -> World {
        let tenant = folder.join(TENANT.to_string());
        std::fs::create_dir_all(&tenant).expect("the folder is ours");
        let secret = json!({ "username": USER, "password": PASSWORD }).to_string();
        std::fs::write(tenant.join(CREDENTIAL), secret).expect("the folder is ours");
        World::new()
            .await
            .with("email.allow_without_tls", "true")
            .with("email.request_timeout_ms", "5000")
            .with("credentials.folder", &folder.display().to_string())
            .with("credentials.recheck_ms", "10")
            .with_provider_delays_ms("20")
    }

    /// What comes next, in this order.
    pub(crate) fn meet(&self, faults: &[Fault]) {
        self.state(|state| state.faults.extend(faults));
    }

    /// Ends all connections.
    pub(crate) fn hang_up(&self) {
        self.hang_up.notify_waiters();
    }

    /// Connections so far, and how often somebody wanted to log in.
    pub(crate) fn visits(&self) -> (usize, usize) {
        self.state(|state| (state.connections, state.attempts_to_log_in))
    }

    /// By the Message-ID.
    pub(crate) fn taken(&self, id: &str) -> Option<Taken> {
        self.state(|state| state.taken.get(id).cloned())
    }

    /// Mails that came a second time after they were taken, and mails that were taken.
    pub(crate) fn copies(&self) -> (usize, usize) {
        self.state(|state| (state.copies, state.taken.len()))
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The fault that is next, if it is for this step.
    fn fault_at(&self, step: Step) -> Option<Fault> {
        self.state(|state| {
            let is_here = match state.faults.front()? {
                Fault::Reply(at, _) | Fault::Cut(at) => *at == step,
                Fault::CutAfterTaking | Fault::Hold => step == Step::Dot,
            };
            is_here.then(|| state.faults.pop_front()).flatten()
        })
    }

    /// None when the connection has ended.
    async fn serve(&self, mut stream: BufReader<TcpStream>) -> Option<()> {
        self.answer(&mut stream, Step::Greeting, "220 mail.example.com ready")
            .await?;
        let (mut is_known, mut from, mut to) = (false, None, None);
        loop {
            let line = read_line(&mut stream).await?;
            let upper = line.to_ascii_uppercase();
            if upper.starts_with("EHLO ") {
                let offers = "250-mail.example.com\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN";
                self.answer(&mut stream, Step::Ehlo, offers).await?;
            } else if let Some(secret) = line.strip_prefix("AUTH PLAIN ") {
                self.state(|state| state.attempts_to_log_in += 1);
                let expected = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
                is_known = secret == expected;
                let text = if is_known {
                    "235 welcome"
                } else {
                    "535 unknown"
                };
                is_known &= self.answer(&mut stream, Step::Auth, text).await?;
            } else if upper.starts_with("MAIL FROM:") {
                let text = match (is_known, &from) {
                    (false, _) => "530 log in",
                    (_, Some(_)) => "503 one at a time",
                    _ => "250 so be it",
                };
                if self.answer(&mut stream, Step::Mail, text).await? && is_known {
                    from = Some(in_brackets(&line)?);
                }
            } else if upper.starts_with("RCPT TO:") {
                let text = if from.is_some() {
                    "250 so be it"
                } else {
                    "503 from whom"
                };
                if self.answer(&mut stream, Step::Rcpt, text).await? {
                    to = Some(in_brackets(&line)?);
                }
            } else if upper == "DATA" {
                let (Some(sender), Some(recipient)) = (from.clone(), to.clone()) else {
                    say(&mut stream, "503 to whom").await?;
                    continue;
                };
                if self.answer(&mut stream, Step::Data, "354 go on").await? {
                    let content = read_content(&mut stream).await?;
                    let mail = Taken {
                        from: sender,
                        to: recipient,
                        content,
                    };
                    self.take(&mut stream, mail).await?;
                    (from, to) = (None, None);
                }
            } else if upper == "QUIT" {
                say(&mut stream, "221 bye").await?;
                return None;
            } else {
                say(&mut stream, "502 what").await?;
            }
        }
    }

    async fn take(&self, stream: &mut BufReader<TcpStream>, mail: Taken) -> Option<()> {
        let fault = self.fault_at(Step::Dot);
        match fault {
            Some(Fault::Reply(_, code)) => return say(stream, &format!("{code} no")).await,
            Some(Fault::Cut(_)) => return None,
            _ => {}
        }
        let id = mail
            .content
            .lines()
            .find_map(|line| line.strip_prefix("Message-ID: "))
            .unwrap_or_default()
            .to_owned();
        self.state(|state| {
            if state.taken.insert(id, mail).is_some() {
                state.copies += 1;
            }
        });
        match fault {
            Some(Fault::CutAfterTaking) => return None,
            Some(Fault::Hold) => self.release.acquire().await.expect("never closed").forget(),
            _ => {}
        }
        say(stream, "250 taken").await
    }

    /// Says it, unless a fault is met; whether it was said.
    async fn answer(
        &self,
        stream: &mut BufReader<TcpStream>,
        step: Step,
        text: &str,
    ) -> Option<bool> {
        match self.fault_at(step) {
            Some(Fault::Reply(_, code)) => {
                say(stream, &format!("{code} no")).await?;
                Some(false)
            }
            Some(_) => None,
            None => {
                say(stream, text).await?;
                Some(true)
            }
        }
    }
}

async fn say(stream: &mut BufReader<TcpStream>, text: &str) -> Option<()> {
    stream
        .get_mut()
        .write_all(format!("{text}\r\n").as_bytes())
        .await
        .ok()
}

/// A line without its end, which must be CRLF.
async fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.strip_suffix("\r\n").map(str::to_owned)
}

/// Up to the final dot.
async fn read_content(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut content = String::new();
    loop {
        let line = read_line(stream).await?;
        if line == "." {
            return Some(content);
        }
        content.push_str(line.strip_prefix('.').unwrap_or(&line));
        content.push('\n');
    }
}

fn in_brackets(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('<')?;
    Some(rest.split_once('>')?.0.to_owned())
}

/// An account for the stand-in.
pub(crate) fn mailbox(server: &MailServer, tls: SmtpTls) -> ChannelAccount {
    ChannelAccount {
        name: "mailbox".to_owned(),
        channel: Channel::Email.into(),
        settings: Some(Settings::Email(EmailSettings {
            from_address: USER.to_owned(),
            from_name: "Mesa de atención".to_owned(),
            subject: "¿Sigue ahí?".to_owned(),
            smtp_host: server.address.ip().to_string(),
            smtp_port: i32::from(server.address.port()),
            smtp_tls: tls.into(),
        })),
        credential_name: CREDENTIAL.to_owned(),
        ..ChannelAccount::default()
    }
}

/// Creates it; its id.
pub(crate) async fn create_mailbox(api: Api, account: ChannelAccount) -> Result<i64, Status> {
    let request = CreateChannelAccountRequest {
        account: Some(account),
        request_id: String::new(),
    };
    let answer = api
        .accounts(administrator())
        .create_channel_account(request)
        .await?
        .into_inner();
    Ok(answer.account.expect("it is set").channel_account_id)
}

/// The message by e-mail.
pub(crate) fn by_mail(mut message: ActiveMessage, channel_account_id: i64) -> ActiveMessage {
    message.channel_account_id = channel_account_id;
    let recipient = message.recipient.get_or_insert_default();
    recipient.channel = Channel::Email.into();
    "ana@example.org".clone_into(&mut recipient.address);
    message
}
