//! Contacts of Salesforce that are merged while they are linked (R54): the partner of the one that is gone goes on with the
//! one that is left.

use muster::sandbox::{Admin, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::examples::installation;
use super::processes::{Installation, Mode};

const CONNECTION: &str = "contacts-volunteers";

async fn synced(contacts: usize) -> (Sandbox, Admin, Installation) {
    let sandbox = Sandbox::start(SandboxSettings { users: 0, contacts, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    admin.set_clock(System::Salesforce, 10_000);
    let muster = installation(Mode::File, "salesforce-to-initlive.toml", &sandbox).await;
    assert_eq!(muster.sync_of(CONNECTION, &[]).await.commands("applied"), contacts as i64);
    (sandbox, admin, muster)
}

fn contacts(admin: &Admin) -> Vec<Value> {
    admin.records(System::Salesforce, "Contact")
}

fn id(contact: &Value) -> &str {
    contact["Id"].as_str().unwrap()
}

/// The user who has this address.
fn user_of(admin: &Admin, email: &Value) -> Option<Value> {
    admin.accounts(System::InitLive).into_iter().find(|user| user["username"] == *email)
}

async fn partners(muster: &Installation) -> Vec<(Value, Value)> {
    let links = muster.muster(&["links", "list", "--json"]).await;
    let links = links.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    links.map(|link| (link["a"].clone(), link["b"].clone())).collect()
}

/// R54, R15: a linked contact is merged into one that nobody knew: its user follows the one that is left, nobody is created for that
/// one, and nobody is taken for a leaver. An incremental read sees it as well as a complete one.
#[tokio::test(flavor = "multi_thread")]
async fn the_partner_of_a_merged_contact_goes_on_with_the_one_that_is_left() {
    for more in [&[][..], &["--full"]] {
        let (_sandbox, admin, muster) = synced(3).await;
        let lost = contacts(&admin).remove(0);
        let user = user_of(&admin, &lost["Email"]).unwrap();
        admin.set_clock(System::Salesforce, 120_000);
        let fields = json!({"LastName": "Survivor", "FirstName": "Ada", "Email": "survivor@x.example"});
        let left = admin.create_record(System::Salesforce, "Contact", &fields).unwrap();
        admin.merge("Contact", &left, id(&lost)).unwrap();
        // The second one writes what the first one has read of the contact that is left.
        for _ in 0..2 {
            muster.sync_of(CONNECTION, more).await;
        }
        let now = user_of(&admin, &json!("survivor@x.example"));
        assert_eq!(
            now.map(|now| (now["id"].clone(), now["lastName"].clone())),
            Some((user["id"].clone(), json!("Survivor")))
        );
        assert_eq!(admin.accounts(System::InitLive).len(), 3, "{more:?}");
        let partners = partners(&muster).await;
        assert_eq!(partners.len(), 3, "{more:?}: {partners:?}");
        assert!(partners.iter().any(|(a, _)| *a == format!("crm:{left}")), "{more:?}: {partners:?}");
        assert!(!partners.iter().any(|(a, _)| *a == format!("crm:{}", id(&lost))), "{more:?}: {partners:?}");
        assert_eq!(muster.letters().await, Vec::<Value>::new(), "{more:?}");
    }
}

/// R54, R2: two contacts with a user each are merged: a person decides, and until then nothing is written, linked or ended.
#[tokio::test(flavor = "multi_thread")]
async fn two_partners_of_merged_contacts_wait_for_a_person() {
    let (_sandbox, admin, muster) = synced(3).await;
    let [lost, left, _] = contacts(&admin).try_into().unwrap();
    admin.set_clock(System::Salesforce, 120_000);
    admin.merge("Contact", id(&left), id(&lost)).unwrap();
    let (before, writes) = (partners(&muster).await, admin.write_count());
    for more in [&[][..], &["--full"], &["--full"]] {
        muster.sync_of(CONNECTION, more).await;
    }
    let letters = muster.letters().await;
    assert_eq!((letters.len(), &letters[0]["fingerprint"]["code"]), (1, &json!("merged_accounts")), "{letters:?}");
    assert_eq!((partners(&muster).await, admin.write_count()), (before, writes));
    assert_eq!(admin.accounts(System::InitLive).len(), 3);

    let removed = muster.muster(&["links", "remove", CONNECTION, &format!("crm:{}", id(&lost))]).await;
    assert_eq!(removed.status, 0, "{removed:?}");
    assert_eq!(muster.letters().await, Vec::<Value>::new());
    // As the command says: else the user, who names the contact that is gone, would be linked with it again.
    let user = user_of(&admin, &lost["Email"]).unwrap();
    assert!(removed.stdout.contains("clear the field there"), "{removed:?}");
    let number = user["id"].as_str().map_or_else(|| user["id"].to_string(), str::to_owned);
    admin.edit(System::InitLive, &number, &json!({"externalId": null})).unwrap();
    muster.sync_of(CONNECTION, &["--full"]).await;
    assert_eq!((muster.letters().await, partners(&muster).await.len()), (Vec::new(), 2));
    assert_eq!(admin.accounts(System::InitLive).len(), 3, "nobody is deleted, and nobody made");
}
