//! Questions of one kind that many tasks ask at the same time, and that are put together.

use std::sync::Mutex;

use futures_util::FutureExt;
use tokio::sync::oneshot;

/// Where questions of one kind wait until they are put.
pub(super) struct Lane<Q, A>(Mutex<Vec<(Q, oneshot::Sender<A>)>>);

/// Questions that are put together, and who waits for the answers, in the same order.
pub(super) struct Batch<Q, A> {
    pub(super) questions: Vec<Q>,
    askers: Vec<oneshot::Sender<A>>,
}

impl<Q, A> Default for Lane<Q, A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Q, A> Lane<Q, A> {
    /// Asks at once; the future is the answer. Whoever stops waiting for it may still have been asked for.
    pub(super) fn ask(&self, question: Q) -> impl Future<Output = A> + use<Q, A> {
        let (asker, answer) = oneshot::channel();
        self.0.lock().expect("nothing panics while the lock is held").push((question, asker));
        answer.map(|answer| answer.expect("a batch is dropped only together with those who wait for it"))
    }

    /// Takes what waits, in batches of at most `size` questions. Only what goes `together` shares a batch.
    pub(super) fn take(&self, size: usize, together: impl Fn(&Q, &Q) -> bool) -> Vec<Batch<Q, A>> {
        let waiting = std::mem::take(&mut *self.0.lock().expect("nothing panics while the lock is held"));
        let mut batches: Vec<Batch<Q, A>> = Vec::new();
        for (question, asker) in waiting {
            let fitting = batches
                .iter_mut()
                .find(|batch| batch.questions.len() < size && together(&batch.questions[0], &question));
            match fitting {
                Some(batch) => {
                    batch.questions.push(question);
                    batch.askers.push(asker);
                }
                None => batches.push(Batch { questions: vec![question], askers: vec![asker] }),
            }
        }
        batches
    }

    /// Takes all that waits, as one batch.
    pub(super) fn take_all(&self) -> Option<Batch<Q, A>> {
        self.take(usize::MAX, |_, _| true).pop()
    }
}

impl<Q, A> Batch<Q, A> {
    /// Hands each its answer. There is one for each question.
    pub(super) fn answer(self, answers: impl IntoIterator<Item = A>) {
        for (asker, answer) in self.askers.into_iter().zip(answers) {
            // Nobody may be waiting any more, which is the asker's good right.
            asker.send(answer).ok();
        }
    }

    /// Hands each the same answer.
    pub(super) fn answer_all(self, answer: A)
    where
        A: Clone,
    {
        self.answer(std::iter::repeat(answer));
    }
}

impl<Q, T, E: Clone> Batch<Q, Result<T, E>> {
    /// Hands each its answer, or all of them the error.
    pub(super) fn answer_each(self, answers: Result<Vec<T>, E>) {
        match answers {
            Ok(answers) => self.answer(answers.into_iter().map(Ok)),
            Err(error) => self.answer(std::iter::repeat_with(|| Err(error.clone()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn what_goes_together_is_put_together_and_everybody_gets_the_own_answer() {
        let lane = Lane::<u32, String>::default();
        let asking = join_all((0..7).map(|number| lane.ask(number)));
        let answering = async {
            // Polled after all have asked.
            let batches = lane.take(3, |a, b| a % 2 == b % 2);
            let sizes: Vec<_> = batches.iter().map(|batch| batch.questions.clone()).collect();
            for batch in batches {
                let answers: Vec<_> = batch.questions.iter().map(|number| format!("{number}!")).collect();
                batch.answer(answers);
            }
            sizes
        };
        let (answers, sizes) = tokio::join!(biased; asking, answering);
        assert_eq!(sizes, [vec![0, 2, 4], vec![1, 3, 5], vec![6]]);
        assert_eq!(answers, ["0!", "1!", "2!", "3!", "4!", "5!", "6!"]);
    }
}
