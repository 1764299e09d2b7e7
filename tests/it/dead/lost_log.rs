//! The log of letters is lost and the store is not: RabbitMQ was made anew, or the log dropped its entries by age.

use lapin::options::QueueDeleteOptions;
use serde_json::json;

use super::{Scene, ids};
use crate::amqp::foreign_channel;
use crate::processes::Mode;

/// R78: a log that says nothing of a letter closes nothing. `dead rebuild` leaves what is open, and puts it into the log again,
/// from where it comes back when the store is lost afterwards.
async fn letters_outlive_a_lost_log(mode: Mode) {
    let mut scene = Scene::start(mode, 6).await;
    scene.muster.sync(&[]).await;
    let open = ids(&scene.backlog("Refused").await);
    scene.lose_the_log(mode).await;

    let rebuilt = scene.dead(&["rebuild"]).await;
    assert_eq!(
        (&rebuilt[0]["closed"], &rebuilt[0]["logged_again"]),
        (&json!(0), &json!(open.len())),
        "nothing says that they are closed: {rebuilt:?}"
    );
    assert_eq!(ids(&scene.muster.letters().await), open);
    let again = scene.dead(&["rebuild"]).await;
    assert_eq!((&again[0]["in_log"], &again[0]["logged_again"]), (&json!(open.len()), &json!(0)), "{again:?}");

    scene.lose_the_index(mode).await;
    assert_eq!(scene.dead(&["rebuild"]).await[0]["brought_back"], open.len());
    assert_eq!(ids(&scene.muster.letters().await), open);
}

impl Scene {
    async fn lose_the_log(&self, mode: Mode) {
        match mode {
            Mode::File => drop(self.file().execute("DELETE FROM letter_log", ()).unwrap()),
            Mode::Servers => {
                let (_connection, channel) = foreign_channel(self.muster.amqp()).await;
                let log = format!("{}.dead", self.muster.prefix());
                channel.queue_delete(log.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
                assert_eq!(self.muster.muster(&["topology"]).await.status, 0);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_outlive_a_lost_log_over_a_file() {
    letters_outlive_a_lost_log(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_outlive_a_lost_log_over_servers() {
    letters_outlive_a_lost_log(Mode::Servers).await;
}
