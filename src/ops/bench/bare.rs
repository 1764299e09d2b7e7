//! The two bare loops that Muster is measured against: one message in, one message out, and nothing else.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::options::BasicAckOptions;
use rusqlite::{Connection, params};

use super::drive::{Cost, Meters};
use super::servers::{Feeder, Parcel, Servers, consumer};

/// Messages under way at once.
const WINDOW: u16 = 256;

/// Messages in one transaction.
const TRANSACTION: u16 = 200;

/// The name of the queue.
pub const QUEUE: &str = "bare";

/// Consumes, publishes with a confirm, and acknowledges, on one quorum queue that held all of these; messages a second, and
/// what it cost.
pub async fn broker_loop(servers: &Servers, parcels: &[Parcel], meters: &Meters) -> anyhow::Result<(f64, Cost)> {
    let queue = servers.empty_queue(QUEUE).await?;
    let (publishing, consuming) = (servers.amqp().await?, servers.amqp().await?);
    let feeder = Feeder::open(&publishing).await?;
    feeder.publish_all(&queue, parcels).await?;
    let begun = meters.begin();
    let mut deliveries = consumer(&consuming, &queue, WINDOW).await?;
    let mut under_way = FuturesUnordered::new();
    let (mut taken, mut done) = (0, 0);
    // As the others are measured: while the second to the fourth fifth are done.
    let (mut fifth, mut four_fifths) = (None, None);
    while done < parcels.len() {
        tokio::select! {
            delivery = deliveries.next(), if taken < parcels.len() => {
                let delivery = delivery.context("the broker ended the consumer")??;
                taken += 1;
                let (feeder, queue) = (&feeder, &queue);
                under_way.push(async move {
                    let parcel = Parcel {
                        id: delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default(),
                        body: delivery.data.as_slice().into(),
                        first: 0,
                        count: 0,
                    };
                    feeder.publish(queue, &parcel).await?;
                    delivery.acker.ack(BasicAckOptions::default()).await?;
                    anyhow::Ok(())
                });
            }
            Some(ended) = under_way.next(), if !under_way.is_empty() => {
                ended?;
                done += 1;
                if 5 * done == parcels.len() {
                    fifth = Some(Instant::now());
                }
                if 5 * done == 4 * parcels.len() {
                    four_fifths = Some(Instant::now());
                }
            }
        }
    }
    let (from, to) = fifth.zip(four_fifths).context("the number of messages has no fifths")?;
    let rate = 0.6 * parcels.len() as f64 / (to - from).as_secs_f64();
    let cost = begun.end();
    consuming.close(200, "done".into()).await?;
    publishing.close(200, "done".into()).await?;
    servers.empty_queue(QUEUE).await?;
    Ok((rate, cost))
}

/// Puts messages into a table, takes them out and removes them, each step a transaction of its own for 200 messages that is
/// durable when it ends, with the settings of the embedded mode; messages a second.
pub fn file_loop(folder: &Path, bodies: &[Parcel]) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(folder)?;
    let mut file = Connection::open(folder.path().join("bare.db"))?;
    for (pragma, value) in [("journal_mode", "WAL"), ("synchronous", "FULL"), ("fullfsync", "1")] {
        file.pragma_update_and_check(None, pragma, value, |_| Ok(())).or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok(()),
            error => Err(error),
        })?;
    }
    file.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    file.execute_batch(
        "CREATE TABLE messages (place INTEGER PRIMARY KEY, taken INTEGER NOT NULL, body BLOB NOT NULL)",
    )?;
    let began = Instant::now();
    for bodies in bodies.chunks(usize::from(TRANSACTION)) {
        let enqueue = file.transaction()?;
        for parcel in bodies {
            let mut insert = enqueue.prepare_cached("INSERT INTO messages (taken, body) VALUES (0, ?1)")?;
            insert.execute([&parcel.body[..]])?;
        }
        enqueue.commit()?;
        let claim = file.transaction()?;
        let claimed: Vec<(i64, Vec<u8>)> = {
            let mut select =
                claim.prepare_cached("SELECT place, body FROM messages WHERE taken = 0 ORDER BY place LIMIT ?1")?;
            let rows = select.query_map([TRANSACTION], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        for (place, _) in &claimed {
            claim.prepare_cached("UPDATE messages SET taken = 1 WHERE place = ?1")?.execute([place])?;
        }
        claim.commit()?;
        let ack = file.transaction()?;
        for (place, _) in &claimed {
            ack.prepare_cached("DELETE FROM messages WHERE place = ?1")?.execute(params![place])?;
        }
        ack.commit()?;
    }
    Ok(bodies.len() as f64 / began.elapsed().max(Duration::from_micros(1)).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_a_queue() {
        let folder = tempfile::tempdir().unwrap();
        let parcel = Parcel { id: String::new(), body: (*b"hello").into(), first: 0, count: 1 };
        assert!(file_loop(folder.path(), &vec![parcel; 450]).unwrap() > 0.0);
    }
}
