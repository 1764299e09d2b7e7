//! Log lines: text for people or JSON for machines, on standard error, since standard output belongs to commands.

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, TelemetryConfig};

/// The variable that has precedence over the configured filter.
pub const FILTER_VARIABLE: &str = "MUSTER_LOG";

/// Why logs cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter has no meaning.
    #[error("{origin} is not a log filter such as \"info\" or \"info,muster::broker=debug\"")]
    Filter {
        /// Where it came from.
        origin: &'static str,
    },
    /// Something else in this process writes logs already.
    #[error("logs were set up before")]
    Twice,
}

/// Writes the log lines of this process from here on. `MUSTER_LOG` has precedence over the configured filter.
pub fn init(config: &TelemetryConfig) -> Result<(), LogError> {
    let wish = std::env::var(FILTER_VARIABLE).ok();
    let filter = filter(&config.filter, wish.as_deref())?;
    let subscriber = subscriber(config.log, filter, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)
}

/// The same for a command at a terminal, whose own output says what matters: only errors, and who linked whom, unless
/// `MUSTER_LOG` asks for more.
pub fn init_quiet(config: &TelemetryConfig) -> Result<(), LogError> {
    init(&TelemetryConfig {
        filter: "error,muster::ops::links=info,muster::ops::conflicts=info".to_owned(),
        ..config.clone()
    })
}

/// The filter to use: `wish` if there is one (an empty one counts as none), else the configured one.
fn filter(configured: &str, wish: Option<&str>) -> Result<EnvFilter, LogError> {
    let (text, origin) = match wish.filter(|wish| !wish.is_empty()) {
        Some(wish) => (wish, FILTER_VARIABLE),
        None => (configured, "telemetry.filter"),
    };
    // lapin reports every lost connection as an error, although our supervisor waits it out and says so itself.
    let text = if text.contains("lapin") { text.to_owned() } else { format!("{text},lapin=off") };
    EnvFilter::try_new(text).map_err(|_| LogError::Filter { origin })
}

fn subscriber<W>(format: LogFormat, filter: EnvFilter, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Text => Box::new(lines.with_ansi(false).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written of a few lines.
    fn written(format: LogFormat, configured: &str, wish: Option<&str>) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter(configured, wish).unwrap(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(account = "005", "Wrote account 005");
            tracing::debug!("Read a page");
            tracing::error!(target: "lapin::io_loop", "Socket was readable but we read 0");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn text_lines_have_time_level_message_and_fields() {
        let text = written(LogFormat::Text, "info", None);
        assert_eq!(text.lines().count(), 1, "{text}");
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
        assert_eq!(rest.trim(), "INFO muster::telemetry::logs::tests: Wrote account 005 account=\"005\"");
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let text = written(LogFormat::Json, "info", None);
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"Wrote account 005".into()));
        assert_eq!(line["account"], "005");
    }

    #[test]
    fn the_variable_has_precedence_and_lapin_is_silent() {
        for (configured, wish, expected) in [
            ("info", None, 1),
            ("debug", None, 2),
            ("info", Some(""), 1),
            ("off", Some("debug"), 2),
            ("debug", Some("off"), 0),
            ("off", Some("lapin=error"), 1),
        ] {
            let text = written(LogFormat::Text, configured, wish);
            assert_eq!(text.lines().count(), expected, "{configured} {wish:?}\n{text}");
        }
    }

    #[test]
    fn a_wrong_filter_is_named_by_its_origin() {
        let message = |configured, wish| filter(configured, wish).unwrap_err().to_string();
        assert!(message("info", Some("a=b=c")).starts_with("MUSTER_LOG is not"));
        assert!(message("a=b=c", None).starts_with("telemetry.filter is not"));
    }
}
