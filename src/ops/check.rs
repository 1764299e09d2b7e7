//! `muster check`: is the configuration right, and do the systems and servers it names agree?

use super::connect;
use super::exit::Exit;
use super::output::{self, Form};
use crate::broker::{Broker, BrokerError};
use crate::config::Config;
use crate::store::Store;
use crate::systems::Finding;

/// Checks the file, and unless `offline` the servers and the systems.
pub async fn run(config: &Config, offline: bool, form: Form) -> anyhow::Result<Exit> {
    let systems = connect::systems(config)?;
    let connections = connect::connections(config, &systems)?;
    let mut findings = vec![Finding {
        subject: format!(
            "configuration: {}, {}",
            output::count(systems.by_name.len(), "system"),
            output::count(connections.len(), "connection")
        ),
        problem: None,
    }];
    if !offline {
        findings.extend(servers(config).await?);
        findings.extend(connect::preflight(&systems, &connections).await);
    }
    for finding in &findings {
        match form {
            Form::Json => output::object(finding),
            Form::Text => match &finding.problem {
                None => output::line(format!("ok    {}", finding.subject)),
                Some(problem) => output::line(format!("WRONG {}: {problem}", finding.subject)),
            },
        }
    }
    let wrong = findings.iter().filter(|finding| finding.problem.is_some()).count();
    Ok(if wrong == 0 { Exit::Done } else { Exit::Failed })
}

async fn servers(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let store = connect::store(config)?;
    let mut findings = Vec::new();
    match store.verify().await {
        Ok(warnings) => {
            findings.push(Finding { subject: "store".to_owned(), problem: None });
            findings.extend(
                warnings.into_iter().map(|warning| Finding { subject: format!("store: {warning}"), problem: None }),
            );
            if let Err(error) = store.ping().await {
                findings.push(Finding { subject: "store".to_owned(), problem: Some(error.to_string()) });
            }
        }
        Err(error) => findings.push(Finding { subject: "store".to_owned(), problem: Some(error.to_string()) }),
    }
    let broker = connect::broker(config)?;
    let patience = std::time::Duration::from_secs(10);
    let answer = tokio::time::timeout(patience, broker.depths(&[])).await;
    let problem = match answer {
        Ok(Ok(_)) => None,
        Ok(Err(BrokerError::Missing(_))) => {
            findings.push(Finding {
                subject: "broker: the queues are declared by the first worker".to_owned(),
                problem: None,
            });
            None
        }
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("it did not answer within {} s; check url, user and password", patience.as_secs())),
    };
    findings.push(Finding { subject: "broker".to_owned(), problem });
    broker.close().await;
    Ok(findings)
}
