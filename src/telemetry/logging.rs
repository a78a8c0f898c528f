//! Log lines on standard error, as JSON or text.
//!
//! Lines are handed to a thread of their own: a terminal or a pipe that nobody reads must not stop a worker. When the
//! queue is full lines are lost, and counted. A warning that is said again and again is said some times and then
//! counted, so that the one line that matters is not lost among them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber, info, warn};
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::metrics;
use crate::clock::Clock;
use crate::policy::{LogFormat, LogLevel};

/// Starts logging at this level, or as the environment variable `LIVY_GATEWAY_LOG` says (`debug`, `off`,
/// `livy_gateway=debug`).
pub fn start(format: LogFormat, level: LogLevel, clock: Arc<dyn Clock>) -> io::Result<()> {
    let repeats = REPEATS.get_or_init(|| Repeats::new(clock));
    let (filter, handle) = reload::Layer::new(filter(level));
    let filter = filter.and(repeats);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(Queue::open()?)
        .with_ansi(false);
    let started = match format {
        LogFormat::Json => tracing_subscriber::registry()
            .with(
                lines
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_filter(filter),
            )
            .try_init(),
        LogFormat::Text => tracing_subscriber::registry()
            .with(lines.with_target(false).with_filter(filter))
            .try_init(),
    };
    let _ = LEVEL.set(handle);
    started.map_err(io::Error::other)
}

/// Another level from now on, unless the environment has said one.
pub fn set_level(level: LogLevel) {
    if directives().is_some() {
        info!("the level of the log is what {VARIABLE} says");
    } else if let Some(handle) = LEVEL.get()
        && handle.reload(filter(level)).is_ok()
    {
        info!(level = level.word(), "the level of the log");
    }
}

/// Says what was left out since the last time. Call it every [`TELL_REPEATS_EVERY`].
pub fn tell_repeats() {
    let Some(repeats) = REPEATS.get() else { return };
    for (at, lines) in repeats.take() {
        metrics::log_lines_suppressed(lines);
        warn!(target: NOTICE, at, lines, "lines like one above were left out");
    }
}

static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
static REPEATS: OnceLock<Repeats> = OnceLock::new();

fn filter(level: LogLevel) -> EnvFilter {
    let builder = EnvFilter::builder();
    match directives() {
        Some(directives) => builder.parse_lossy(directives),
        // Whatever else is left out: without a file the audit is in the log alone.
        None => builder.parse_lossy(format!("{},audit=info", level.word())),
    }
}

/// What the environment says, if it says anything.
fn directives() -> Option<String> {
    let directives = std::env::var(VARIABLE).ok()?;
    (!directives.trim().is_empty()).then_some(directives)
}

/// How often each warning was said lately.
#[derive(Debug)]
struct Repeats {
    clock: Arc<dyn Clock>,
    said: Mutex<HashMap<Identifier, Said>>,
}

#[derive(Debug)]
struct Said {
    at: &'static str,
    since: Duration,
    times: u64,
    left_out: u64,
}

impl Repeats {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            said: Mutex::default(),
        }
    }

    /// Requests have a line each, whoever asks for details wants them all, and what tells of one session or one setting
    /// is said of each.
    fn may_say(&self, metadata: &'static Metadata<'static>) -> bool {
        let is_grave = matches!(*metadata.level(), Level::WARN | Level::ERROR);
        if !is_grave || metadata.target() == NOTICE || metadata.fields().field("marker").is_some() {
            return true;
        }
        let now = self.clock.monotonic();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = said.entry(metadata.callsite()).or_insert_with(|| Said {
            at: metadata.name(),
            since: now,
            times: 0,
            left_out: 0,
        });
        if now.saturating_sub(said.since) >= TELL_REPEATS_EVERY {
            (said.since, said.times) = (now, 0);
        }
        said.times = said.times.saturating_add(1);
        let may_say = said.times <= TIMES_MAX;
        said.left_out = said.left_out.saturating_add(u64::from(!may_say));
        may_say
    }

    fn take(&self) -> Vec<(&'static str, u64)> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.values_mut()
            .filter(|said| said.left_out > 0)
            .map(|said| (said.at, std::mem::take(&mut said.left_out)))
            .collect()
    }
}

impl<S: Subscriber> Filter<S> for &'static Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.may_say(event.metadata())
    }
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

const VARIABLE: &str = "LIVY_GATEWAY_LOG";
/// The target of lines that are each said.
pub const NOTICE: &str = "livy_gateway::notice";
const QUEUE_LINES: usize = 8192;
/// In this time a warning is said at most ten times.
pub const TELL_REPEATS_EVERY: Duration = Duration::from_secs(10);
const TIMES_MAX: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    /// The metadata of an event at this level, as the macros make it.
    macro_rules! said_at {
        ($level:expr) => {{
            struct Here;
            impl tracing::Callsite for Here {
                fn set_interest(&self, _: tracing::subscriber::Interest) {}
                fn metadata(&self) -> &Metadata<'_> {
                    &META
                }
            }
            static HERE: Here = Here;
            static META: Metadata<'static> = tracing::metadata! {
                name: "event here",
                target: "test",
                level: $level,
                fields: &[],
                callsite: &HERE,
                kind: tracing::metadata::Kind::EVENT,
            };
            &META
        }};
    }

    #[test]
    fn a_warning_is_said_some_times_and_then_counted_until_time_has_passed() {
        let clock = Arc::new(ManualClock::at(Duration::ZERO));
        let repeats = Repeats::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let (warning, other) = (said_at!(Level::WARN), said_at!(Level::ERROR));
        let said = |what| (0..50).filter(|_| repeats.may_say(what)).count();
        assert_eq!(said(warning), 10);
        assert!(repeats.may_say(other), "another line is another matter");
        assert_eq!(repeats.take(), [("event here", 40)]);
        assert_eq!(repeats.take(), []);
        clock.advance(TELL_REPEATS_EVERY);
        assert_eq!(said(warning), 10);
    }

    #[test]
    fn the_lines_of_requests_are_all_said() {
        let repeats = Repeats::new(Arc::new(ManualClock::at(Duration::ZERO)));
        let line = said_at!(Level::INFO);
        assert!((0..1000).all(|_| repeats.may_say(line)));
    }
}
