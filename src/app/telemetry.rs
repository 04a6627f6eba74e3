//! Logs and metrics. One event is one line; what comes from outside cannot end a line, colour a terminal or turn text around;
//! third-party code never logs below `info`, whatever is asked for, as it would print requests and with them secrets.

use std::io::{self, IsTerminal as _, Write};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, filter};

use super::env;

/// Our own targets; every other is third-party.
const OUR_TARGET: &str = "hallpass";

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStyle {
    /// JSON, for machines.
    Json,
    /// Short lines, for a person at a terminal.
    Pretty,
}

impl LogStyle {
    /// For a person when standard error is a terminal, for machines otherwise.
    #[must_use]
    pub fn detect() -> Self {
        if io::stderr().is_terminal() { Self::Pretty } else { Self::Json }
    }
}

/// Start logging to standard error. `default` is what is logged when neither `HALLPASS_LOG` nor `RUST_LOG` says otherwise.
///
/// # Errors
/// When the filter cannot be read, or logging was started before.
pub fn start_logging(style: LogStyle, default: &str) -> anyhow::Result<()> {
    let asked = env::read(env::LOG).or_else(|| env::read(env::RUST_LOG)).unwrap_or_else(|| default.to_owned());
    let asked = EnvFilter::builder().parse(&asked).map_err(|error| {
        anyhow::anyhow!("{} or {} cannot be read: {error}; try `info` or `hallpass=debug`", env::LOG, env::RUST_LOG)
    })?;
    let cap = filter::Targets::new().with_default(LevelFilter::INFO).with_target(OUR_TARGET, LevelFilter::TRACE);
    let lines = match style {
        LogStyle::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(Escaping)
            .boxed(),
        LogStyle::Pretty => {
            tracing_subscriber::fmt::layer().compact().with_ansi(false).with_target(false).with_writer(Escaping).boxed()
        }
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(asked).with_filter(cap))
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging was started before: {error}"))
}

/// Start counting. The handle renders the metrics; `http` serves them.
///
/// # Errors
/// When counting was started before.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    /// Upper bounds of the histograms' buckets, in seconds.
    const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
    PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| anyhow::anyhow!("metrics cannot be started: {error}"))
}

/// Writes whole lines to standard error with everything escaped that a reader cannot see.
#[derive(Debug, Clone, Copy)]
struct Escaping;

impl<'a> MakeWriter<'a> for Escaping {
    type Writer = EscapingWriter<io::StderrLock<'a>>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapingWriter(io::stderr().lock())
    }
}

struct EscapingWriter<W: Write>(W);

impl<W: Write> Write for EscapingWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // The formatter hands over one whole event at a time, ended by one line feed.
        let text = String::from_utf8_lossy(buf);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        self.0.write_all(escape(line).as_bytes())?;
        self.0.write_all(b"\n")?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The text with every character that a reader cannot see, or that changes how text is shown, as `\u{…}`; for JSON the
/// formatter has already escaped what JSON demands, so only what JSON allows in the clear is left to do.
#[must_use]
pub fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let hidden = crate::domain::forbidden_characters(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden.contains(&c) || c == '\n' {
            // Four digits are what JSON understands, so that an escaped line stays JSON; others are written as pairs.
            let mut units = [0_u16; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_cannot_see_is_escaped_and_stays_json() {
        assert_eq!(escape("plain \u{e9} text"), "plain \u{e9} text");
        assert_eq!(escape("a\u{202e}b\u{7f}c\u{1b}[31m"), r"a\u202eb\u007fc\u001b[31m");
        assert_eq!(escape("a\nb"), r"a\u000ab");
        let line = escape("{\"purpose\":\"\u{e0041}\u{200b}\"}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["purpose"], "\u{e0041}\u{200b}");
    }

    #[test]
    fn an_event_is_one_line() {
        let mut out = Vec::new();
        EscapingWriter(&mut out).write_all(b"one\ntwo\n").unwrap();
        assert_eq!(out, b"one\\u000atwo\n");
    }
}
