//! What people do to the org while processes die.

use muster::sandbox::people::{self, Person};
use muster::sandbox::{Admin, System};
use serde_json::json;

/// Edits some people of the org: renames, new titles, and now and then somebody leaves.
pub fn edit_some(admin: &Admin, people: &[String], random: &mut fastrand::Rng, edits: &mut u32) {
    for _ in 0..12 {
        *edits += 1;
        let somebody = &people[random.usize(..people.len())];
        let fields = match *edits % 12 {
            0 => json!({ "IsActive": false }),
            n if n % 2 == 0 => json!({ "LastName": format!("Renamed {edits}") }),
            _ => json!({ "Title": format!("Title {edits}") }),
        };
        admin.edit(System::Salesforce, somebody, &fields).unwrap();
    }
}

pub fn people(admin: &Admin) -> Vec<String> {
    admin.accounts(System::Salesforce).iter().map(|user| user["Id"].as_str().unwrap().to_owned()).collect()
}

/// People who have not joined the org yet, so that there is always somebody to create.
pub struct Joiners(std::vec::IntoIter<Person>);

impl Joiners {
    /// So many, none of whom is in an org that began with `users` people of this seed.
    pub fn after(users: usize, seed: u64, count: usize) -> Self {
        Self(people::generate(users + count, seed).split_off(users).into_iter())
    }

    /// Some of them join.
    pub fn join(&mut self, admin: &Admin, count: usize) {
        let people: Vec<_> = self.0.by_ref().take(count).collect();
        for id in admin.seed_people(System::Salesforce, &people).unwrap() {
            // Seeded people carry stamps of long ago, which nobody looks for any more.
            admin.edit(System::Salesforce, &id, &json!({ "Title": "Newcomer" })).unwrap();
        }
    }
}
