use crate::rabbitmq::RabbitMq;
use muster::broker::*;
use muster::domain::*;

#[tokio::test]
async fn experiment() {
    let rabbit = RabbitMq::shared().await;
    let broker = rabbit.broker();
    broker.declare(&[Queue::Changes]).await.unwrap();
    let entry = || Outgoing { to: Destination::Dead, message: Message::new(message::Payload::Letters(vec![LetterEntry::Closed { id: LetterId::from_text("x"), resolution: Resolution::Healed, at: Timestamp(1), by: "t".into() }])) };
    for i in 0..5 {
        broker.publish((0..10).map(|_| entry()).collect()).await.unwrap();
        println!("{i} {}", broker.stream_depth().await);
    }
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    println!("{}", broker.stream_depth().await);
    broker.close().await;
}
