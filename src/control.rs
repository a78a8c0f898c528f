//! The operators' socket: what is held and asked for, a place given back by hand, a reload. Nothing that changes the gateway can be
//! asked for over a network.
//!
//! One line of JSON comes in, one goes out, one connection at a time, on the main thread: no request waits for it. Who
//! may open the socket file is the gateway's own account or root, and the kernel says so of each connection once more.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::clock::Moments;
use crate::holdings::Holdings;
use crate::overview::{Overview, metrics_text};
use crate::reconcile::Untold;
use crate::reload::Reloaded;
use crate::telemetry::audit::Audit;

pub mod protocol;
mod release;
mod socket;

pub use socket::{CannotOpen, ControlSocket};

use protocol::{Answer, Command, Held};

/// What operators can ask for.
#[expect(
    missing_debug_implementations,
    reason = "what can be looked at shows itself in its own way"
)]
pub struct Desk {
    /// All that can be looked at.
    pub overview: Arc<dyn Overview>,
    /// Who holds what.
    pub holdings: Holdings,
    /// The order of events.
    pub moments: Arc<Moments>,
    /// Creations in doubt of which no client was told.
    pub untold: Arc<Untold>,
    /// Where decisions are written down.
    pub audit: Arc<Audit>,
    /// Whoever loads the configuration.
    pub reload: mpsc::Sender<ReloadOrder>,
    /// The configuration that is loaded.
    pub config: PathBuf,
}

/// That somebody wants the configuration loaded now.
#[derive(Debug)]
pub struct ReloadOrder {
    /// The account of whoever wants it.
    pub by: u32,
    /// For what comes of it.
    pub answer: oneshot::Sender<Reloaded>,
}

/// Answers until the process ends. `owner` is the gateway's own account.
pub async fn serve(socket: UnixListener, owner: u32, desk: Desk) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => match timeout(CONNECTION_TIME, desk.attend(stream, owner)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a connection to the control socket broke off"),
                Err(_) => warn!("a connection to the control socket took too long"),
            },
            Err(error) => {
                warn!(%error, "a connection to the control socket could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Desk {
    async fn attend(&self, mut stream: UnixStream, owner: u32) -> io::Result<()> {
        let caller = stream.peer_cred()?.uid();
        let answer = if caller == owner || caller == ROOT {
            match read_command(&mut stream).await? {
                Ok(command) => self.answer(command, caller).await,
                Err(why) => Answer::Refused { why },
            }
        } else {
            let why = "this socket is for the gateway's own account and for root".to_owned();
            Answer::Refused { why }
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        stream.shutdown().await
    }

    async fn answer(&self, command: Command, caller: u32) -> Answer {
        match command {
            Command::Sessions => Answer::Held(Held::of(&self.holdings).await),
            Command::Release { what } => self.release(&what, caller).await,
            Command::Reload => self.reload(caller).await,
            Command::Metrics { users } => Answer::Metrics {
                text: metrics_text(&*self.overview, users.min(USERS_MAX)).await,
            },
        }
    }

    async fn reload(&self, by: u32) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let ended = || Answer::Refused {
            why: "the gateway is about to end".to_owned(),
        };
        if self.reload.send(ReloadOrder { by, answer }).await.is_err() {
            return ended();
        }
        let config = self.config.display().to_string();
        match receiver.await {
            Ok(Reloaded::InForce { generation, notices }) => Answer::Reloaded {
                config,
                generation,
                notices,
            },
            Ok(Reloaded::Refused(problems)) => Answer::NotReloaded { config, problems },
            Err(_) => ended(),
        }
    }
}

/// The command, or what is wrong with it.
async fn read_command(stream: &mut UnixStream) -> io::Result<Result<Command, String>> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(stream.take(COMMAND_BYTES_MAX));
    match timeout(COMMAND_TIME, reader.read_until(b'\n', &mut line)).await {
        Ok(read) => read?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    if line.last() != Some(&b'\n') {
        return Ok(Err("a command is one line of at most 4 KiB".to_owned()));
    }
    Ok(serde_json::from_slice(&line)
        .map_err(|error| format!("this gateway does not know that command: {error}")))
}

const ROOT: u32 = 0;
/// More rows than anybody reads.
const USERS_MAX: usize = 1000;
const COMMAND_BYTES_MAX: u64 = 4 * 1024;
/// How long a command may take to arrive.
const COMMAND_TIME: Duration = Duration::from_secs(5);
/// How long all of it may take: a fresh list of Livy's, a reload, and a reader of ten thousand rows.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
