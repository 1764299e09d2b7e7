//! People who do not exist, but could: names in many scripts, awkward ones among them, and the untidiness of real rosters.

mod names;

use names::{DEPARTMENTS, ORIGINS, Origin, TITLES};

/// One person, in words that no system owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Given name, at most 40 characters.
    pub given_name: String,
    /// Family name, at most 80 characters.
    pub family_name: String,
    /// Unique, ASCII, in the form of an e-mail address.
    pub user_name: String,
    /// Shared by two people now and then.
    pub email: Option<String>,
    /// At most 8 ASCII characters; not unique.
    pub alias: String,
    /// Unique, at most 40 characters.
    pub nickname: String,
    /// Job title.
    pub title: String,
    /// Department.
    pub department: String,
    /// Unique number.
    pub employee_number: String,
    /// Written as people write it.
    pub phone: String,
    /// Written as people write it; not everybody has one.
    pub mobile: Option<String>,
    /// Such as `fr_FR`.
    pub locale: &'static str,
    /// Such as `fr`.
    pub language: &'static str,
    /// Such as `Europe/Paris`.
    pub time_zone: &'static str,
    /// City.
    pub city: &'static str,
    /// Country.
    pub country: &'static str,
    /// Whether the account may be used.
    pub active: bool,
}

/// Whether everybody has an e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emails {
    /// Everybody has one.
    Complete,
    /// A few have none, which Salesforce itself would not allow.
    SomeMissing,
}

/// `count` people; the same for the same seed, and the first of a longer list are those of a shorter one.
pub fn generate(count: usize, seed: u64) -> Vec<Person> {
    generate_with(count, seed, Emails::Complete)
}

/// Like [`generate`], with or without gaps in the e-mail addresses.
pub fn generate_with(count: usize, seed: u64, emails: Emails) -> Vec<Person> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut people: Vec<Person> = Vec::with_capacity(count);
    for number in 0..count {
        let mut person = person(number, &mut random);
        if number % 50 == 49 {
            person.email = people[number - 1].email.clone();
        }
        if emails == Emails::SomeMissing && number % 61 == 30 {
            person.email = None;
        }
        people.push(person);
    }
    people
}

fn person(number: usize, random: &mut fastrand::Rng) -> Person {
    let origin = &ORIGINS[random.usize(..ORIGINS.len())];
    let (given, given_ascii) = origin.given[random.usize(..origin.given.len())];
    let (family, family_ascii) = origin.family[random.usize(..origin.family.len())];
    let (given_name, family_name) = match number % 200 {
        // Exactly as long as the fields are.
        150 => (fill(given, 40), fill(family, 80)),
        // More bytes than UTF-16 units than characters.
        151 => (given.to_owned(), format!("{family} 👩‍💻")),
        // A combining accent, where others use the composed letter.
        152 => ("Jose\u{301}".to_owned(), family.to_owned()),
        _ => (given.to_owned(), family.to_owned()),
    };
    let user_name = format!("{given_ascii}.{family_ascii}.{}@{}.example", number + 1, origin.company);
    Person {
        email: Some(match random.usize(..10) {
            // Capital letters, as people type them.
            0 => format!("{}.{}{}@{}.example", capital(given_ascii), capital(family_ascii), number + 1, origin.company),
            _ => user_name.clone(),
        }),
        alias: format!("{}{}", &given_ascii[..1], family_ascii).chars().take(8).collect(),
        nickname: format!("{given_ascii}{}", number + 1),
        title: TITLES[random.usize(..TITLES.len())].to_owned(),
        department: DEPARTMENTS[random.usize(..DEPARTMENTS.len())].to_owned(),
        employee_number: format!("E{:06}", number + 1),
        phone: phone(origin, random),
        mobile: random.bool().then(|| phone(origin, random)),
        locale: origin.locale,
        language: origin.language,
        time_zone: origin.time_zone,
        city: origin.city,
        country: origin.country,
        active: number % 12 != 7,
        given_name,
        family_name,
        user_name,
    }
}

fn phone(origin: &Origin, random: &mut fastrand::Rng) -> String {
    let (a, b) = (random.u32(100..1000), random.u32(1000..10000));
    match random.u8(..3) {
        0 => format!("+{} {a} {b}", origin.calling_code),
        1 => format!("+{}-{a}-{b}", origin.calling_code),
        _ => format!("(0){a} {b} ext. {}", random.u8(10..99)),
    }
}

/// Repeats a name with hyphens until it has exactly this many characters.
fn fill(name: &str, chars: usize) -> String {
    name.chars().chain(['-']).cycle().take(chars - 1).chain(['x']).collect()
}

fn capital(ascii: &str) -> String {
    format!("{}{}", ascii[..1].to_ascii_uppercase(), &ascii[1..])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_people() {
        let people = generate(500, 7);
        assert_eq!(people, generate(500, 7));
        assert_eq!(people[..100], generate(100, 7)[..]);
        assert_ne!(people, generate(500, 8));
    }

    #[test]
    fn user_names_nicknames_and_numbers_are_unique() {
        let people = generate(5000, 1);
        for (what, distinct) in [
            ("user names", people.iter().map(|p| p.user_name.to_lowercase()).collect::<HashSet<_>>().len()),
            ("nicknames", people.iter().map(|p| p.nickname.clone()).collect::<HashSet<_>>().len()),
            ("employee numbers", people.iter().map(|p| p.employee_number.clone()).collect::<HashSet<_>>().len()),
        ] {
            assert_eq!(distinct, 5000, "{what}");
        }
    }

    #[test]
    fn fields_fit_salesforce_and_reach_its_limits() {
        let people = generate(1000, 3);
        for person in &people {
            assert!(person.given_name.chars().count() <= 40 && person.family_name.chars().count() <= 80);
            assert!(person.user_name.len() <= 80 && person.user_name.is_ascii());
            assert!(person.alias.len() <= 8 && person.phone.len() <= 40, "{person:?}");
        }
        assert!(people.iter().any(|p| p.given_name.chars().count() == 40 && p.family_name.chars().count() == 80));
    }

    #[test]
    fn rosters_are_untidy() {
        let people = generate_with(1000, 3, Emails::SomeMissing);
        let emails: HashSet<_> = people.iter().filter_map(|p| p.email.as_ref()).collect();
        assert!(emails.len() < people.iter().filter(|p| p.email.is_some()).count(), "no shared e-mail");
        assert!(people.iter().any(|p| p.email.is_none()), "no missing e-mail");
        assert!(people.iter().any(|p| !p.active), "nobody left");
        let scripts = ['ü', 'о', 'ρ', '田', 'م', 'र', '\'', '-'];
        let names: String = people.iter().flat_map(|p| [p.given_name.as_str(), p.family_name.as_str()]).collect();
        for letter in scripts {
            assert!(names.contains(letter), "no name with {letter}");
        }
        assert!(generate(1000, 3).iter().all(|p| p.email.is_some()));
    }
}
