//! Sentences about words that are not known.

/// "... is not known", with the text cut to a length that a person reads.
pub(crate) fn not_known(text: &str) -> String {
    let cut: String = text.chars().take(60).collect();
    format!("{cut:?} is not known")
}

/// The known word nearest to a wrong one, and all of them.
pub(crate) fn suggestion(wrong: &str, known: &[&str]) -> String {
    match nearest(wrong, known) {
        Some(word) => format!("did you mean {word:?}? {}", known_words(known)),
        None => known_words(known),
    }
}

/// The known word that a wrong one was probably meant to be.
pub(crate) fn nearest<'w>(wrong: &str, known: &[&'w str]) -> Option<&'w str> {
    known
        .iter()
        // Long texts are no misspelt keys, and the comparison is quadratic.
        .filter(|_| wrong.len() <= 64)
        .map(|word| (strsim::damerau_levenshtein(wrong, word), *word))
        .filter(|(distance, word)| *distance <= word.len() / 3)
        .min()
        .map(|(_, word)| word)
}

/// A list of words, as a sentence.
pub(crate) fn known_words(known: &[&str]) -> String {
    let quoted: Vec<_> = known.iter().map(|word| format!("{word:?}")).collect();
    match quoted.as_slice() {
        [] => "nothing is known here".to_owned(),
        [only] => format!("only {only} is known here"),
        [others @ .., last] => format!("known are {} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_if_it_is_near() {
        let known = ["direction", "create", "schedule", "a", "b"];
        for (wrong, expected) in [
            ("directoin", Some("direction")),
            ("shedule", Some("schedule")),
            ("creates", Some("create")),
            ("budgets", None),
            ("", None),
            (&"x".repeat(10_000), None),
        ] {
            assert_eq!(nearest(wrong, &known), expected, "{wrong:.20}");
        }
    }

    #[test]
    fn known_words_are_a_sentence() {
        assert_eq!(known_words(&["a"]), "only \"a\" is known here");
        assert_eq!(known_words(&["a", "b", "c"]), "known are \"a\", \"b\" and \"c\"");
    }
}
