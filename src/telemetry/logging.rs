//! Log lines on standard error, as JSON or text.
//!
//! Lines are handed to a thread of their own: a terminal or a pipe that nobody reads must not stop a worker. When the
//! queue is full lines are lost, and counted.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::metrics;
use crate::policy::LogFormat;

/// Starts logging at the level `info`, or as the environment variable `LIVY_GATEWAY_LOG` says (`debug`, `off`,
/// `livy_gateway=debug`).
pub fn start(format: LogFormat) -> io::Result<()> {
    let filter = EnvFilter::builder()
        .with_env_var("LIVY_GATEWAY_LOG")
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .from_env_lossy();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Queue::open()?)
        .with_ansi(false);
    let started = match format {
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
        LogFormat::Text => subscriber.with_target(false).try_init(),
    };
    started.map_err(io::Error::other)
}

#[derive(Debug, Clone)]
struct Queue(SyncSender<Vec<u8>>);

impl Queue {
    fn open() -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<Vec<u8>>(QUEUE_LINES);
        thread::Builder::new().name("log".into()).spawn(move || {
            for line in receiver {
                // Locked for each line only: whoever else has something to say there, such as why the process cannot
                // start, would wait for ever. Nothing can be said about a log that cannot be written.
                let _ = io::stderr().lock().write_all(&line);
            }
        })?;
        Ok(Self(sender))
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            queue: self,
            text: Vec::with_capacity(512),
        }
    }
}

/// One line; sent when the event is written whole.
#[derive(Debug)]
struct Line<'a> {
    queue: &'a Queue,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        match self.queue.0.try_send(std::mem::take(&mut self.text)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => metrics::log_lines_lost(1),
        }
    }
}

const QUEUE_LINES: usize = 8192;
