//! `muster backup`: a whole copy of the embedded mode's file, made while work goes on.

use std::path::Path;

use super::exit::Exit;
use super::output::{self, Form};
use super::sync::UsageError;
use crate::config::{Config, Infrastructure};
use crate::database::Database;

/// Copies the file to `to`, which must not be there yet.
pub async fn run(config: &Config, to: &Path, form: Form) -> anyhow::Result<Exit> {
    let path = match &config.infrastructure {
        Infrastructure::File { path } => path,
        Infrastructure::Servers { .. } => {
            return Err(UsageError::new(
                "there is no file to back up: links are in Redis, messages in RabbitMQ. Keep Redis's append-only file, or \
                 a snapshot of it; without one, the next sync reads both sides and links them again"
                    .to_owned(),
            )
            .into());
        }
    };
    if !path.exists() {
        return Err(UsageError::new(format!("there is no {} yet, and nothing to back up", path.display())).into());
    }
    if to.symlink_metadata().is_ok() {
        return Err(UsageError::new(format!("{} is there already and stays as it is", to.display())).into());
    }
    let database = Database::open(path)?;
    database.backup(to).await?;
    let size_bytes = to.metadata()?.len();
    match form {
        Form::Json => {
            output::object(&serde_json::json!({ "file": path, "backup": to, "size_bytes": size_bytes }));
        }
        Form::Text => output::line(format!(
            "Wrote {to}: all of {path}, {size}\n\
             To restore it: stop `muster run`, remove {path}, {path}-wal and {path}-shm, and copy {to} to {path}. The next \
             sync then reads both sides again, since what it remembers may be out of date",
            to = to.display(),
            path = path.display(),
            size = output::bytes(size_bytes),
        )),
    }
    Ok(Exit::Done)
}
