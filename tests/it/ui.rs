//! The console as a person meets it: the real programs, and a real browser without a screen.

use muster::sandbox::{Sandbox, SandboxSettings, System};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::json;

use super::installed::Served;
use super::processes::{CONNECTION, active_users, connection, directory};
use browser::{Browser, ENTER, TAB};

mod browser;

/// What a page must have for those who do not see it or use no mouse; what is amiss, in words.
const AMISS: &str = r#"
const amiss = [];
if (document.documentElement.lang !== "en") amiss.push("no language");
if (document.querySelectorAll("main").length !== 1) amiss.push("not one main");
if (document.querySelectorAll("h1").length !== 1) amiss.push("not one h1");
if (!document.title) amiss.push("no title");
for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea:not([hidden])"))
  if (!field.labels.length) amiss.push("no label: " + field.outerHTML);
for (const act of document.querySelectorAll("a, button"))
  if (!(act.textContent.trim() || act.getAttribute("aria-label"))) amiss.push("no name: " + act.outerHTML);
for (const head of document.querySelectorAll("th"))
  if (!head.scope) amiss.push("no scope: " + head.outerHTML);
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
ids.filter((id, at) => ids.indexOf(id) !== at).forEach((id) => amiss.push("twice: " + id));
for (const badge of document.querySelectorAll(".badge, .notice"))
  if (!badge.textContent.trim()) amiss.push("only a colour: " + badge.outerHTML);
if (document.documentElement.scrollWidth > innerWidth)
  amiss.push("scrolls sideways: " + document.documentElement.scrollWidth + " of " + innerWidth + ", " +
    [...document.querySelectorAll("body *")].filter((it) => it.getBoundingClientRect().right > innerWidth + 1)
      .slice(0, 3).map((it) => it.outerHTML.slice(0, 120)).join(" | "));
return amiss;
"#;

async fn sign_in(browser: &Browser, served: &Served, label: &str) {
    browser.go(&served.url("/sign-in")).await;
    browser.write("//input[@name='token']", served.token(label)).await;
    browser.press("Sign in").await;
    browser.sees("//h1[.='Overview']").await;
}

/// That the page is fit for everybody, as wide as a screen and as a telephone, in light and in dark.
async fn assert_fit(browser: &Browser, name: &str) {
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
        browser.look(width, scheme).await;
        assert_eq!(browser.script(AMISS).await, json!([]), "{name}, {width} wide, {scheme}");
        let ground = browser.script("return getComputedStyle(document.body).backgroundColor").await;
        assert_eq!(ground.as_str() == Some("rgb(18, 21, 27)"), scheme == "dark", "{name}: {ground}");
        browser.picture(&format!("{name}-{width}-{scheme}")).await;
    }
    browser.look(1280, "light").await;
}

/// R78, B8, B9: from a red overview over causes and a letter to healed accounts: one letter alone, the others together with a
/// canary, one of them closed for good. The browser has nothing to complain about.
#[tokio::test]
async fn a_person_walks_from_the_overview_to_healed_letters() {
    let mut served = Served::start(4, "").await;
    served.backlog("Navigator").await;
    let people = active_users(&served.admin).len();
    let browser = Browser::open().await;
    browser.go(&served.url("/letters")).await;
    assert_eq!(browser.path().await, "/sign-in", "nobody looks without a session");
    assert_fit(&browser, "sign-in").await;
    browser.write("//input[@name='token']", "muster_guess").await;
    browser.press("Sign in").await;
    browser.reads("This token is not known").await;
    assert_eq!(browser.complaints().await.len(), 1, "the answer was 401, and nothing else is wrong");
    browser.write("//input[@name='token']", served.token("operator")).await;
    browser.press("Sign in").await;

    browser.sees("//h1[.='Dead letters']").await;
    browser.press("Overview").await;
    browser.sees(&format!("//li[contains(@class, 'bad')]//strong[.='{people}']")).await;
    assert_fit(&browser, "overview").await;
    browser.press(&format!("{people} open letters")).await;
    assert_fit(&browser, "causes").await;
    browser.press("forbidden").await;
    browser.sees("//h1[.='Letters']").await;
    assert_fit(&browser, "list").await;
    browser.press("See what would come of sending them again").await;
    browser.sees("//h1[.='What would come of it']").await;
    browser.reads("\"Navigator\"").await;
    assert_fit(&browser, "preview").await;
    browser.press("Back to the letters").await;

    // One alone.
    browser.click("(//tbody//th/a)[1]").await;
    browser.press("See what both systems hold now").await;
    browser.reads("holds now").await;
    browser.reads("\"Navigator\"").await;
    assert_fit(&browser, "letter").await;
    browser.press("Send it again").await;
    browser.sees("//dd[@id='outcomes'][contains(., '1 applied')]").await;
    assert_fit(&browser, "retry").await;
    // One closed for good: without a reason the form is not sent.
    browser.press("Letters").await;
    browser.press("forbidden").await;
    browser.click("(//tbody//th/a)[1]").await;
    browser.press("Close it").await;
    assert_eq!(browser.path().await, "/letters/one");
    browser.click("//option[@value='accepted']").await;
    browser.press("Close it").await;
    browser.reads("1 letter closed as accepted").await;
    // The others together.
    browser.press("forbidden").await;
    browser.write("//input[@name='rate']", "50").await;
    browser.press("Send all of these again").await;
    browser.sees(&format!("//dd[@id='outcomes'][contains(., '{} applied')]", people - 2)).await;
    browser.sees("//p[@role='status'][contains(., 'done')]").await;
    browser.press("To the letters that are left").await;
    browser.reads("No open letters.").await;
    browser.press("Retries").await;
    browser.sees("(//tbody/tr)[2]").await;
    assert_fit(&browser, "retries").await;
    let titles = served.copies().into_iter().filter(|copy| copy["title"] == "Navigator").count();
    assert_eq!(titles, people - 1, "everybody but the one who was closed");

    browser.press("Accounts").await;
    let account = format!("crm:{}", active_users(&served.admin)[0]["Id"].as_str().unwrap());
    browser.write("//input[@name='account']", &account).await;
    browser.press("Explain").await;
    browser.sees("//h3[.='Attributes']").await;
    assert_fit(&browser, "account").await;
    browser.write("//input[@name='account']", "nobody:1").await;
    browser.press("Explain").await;
    browser.reads("there is no system nobody").await;

    // Pause, resume and sync, and links.
    browser.press("Overview").await;
    browser.press(&format!("Pause {CONNECTION}")).await;
    browser.reads("paused by operator").await;
    browser.press(&format!("Resume {CONNECTION}")).await;
    browser.reads("go on").await;
    browser.press(&format!("Sync {CONNECTION} now")).await;
    browser.reads("Asked for run").await;
    // What was asked for comes to its end first: it would link the two by itself.
    served.muster.sync(&[]).await;
    let (user, copy) = served.stranger().await;
    browser.press("Links").await;
    browser.press("Read both systems and look").await;
    browser.reads(&user).await;
    browser.write("//textarea", &format!("crm,directory{ENTER}{user},{copy}{ENTER}")).await;
    assert_fit(&browser, "links").await;
    browser.press("See what would be linked").await;
    browser.sees("//h1[contains(., 'What would be linked')]").await;
    assert_fit(&browser, "links-preview").await;
    browser.press("Link 1").await;
    browser.reads("1 linked").await;
    browser.press("Approvals").await;
    assert_fit(&browser, "approvals").await;
    assert_eq!(browser.complaints().await, [] as [String; 0]);
    browser.press("Sign out").await;
    browser.sees("//input[@name='token']").await;
    browser.go(&served.url("/")).await;
    assert_eq!(browser.path().await, "/sign-in");

    sign_in(&browser, &served, "admin").await;
    browser.press("Audit").await;
    browser.reads("dead.discard").await;
    browser.reads("links.import").await;
    assert_fit(&browser, "audit").await;
    browser.close().await;
}

/// B5, B11: what a guard has stopped is let pass, and a value that lost a conflict is given back, each by a form.
#[tokio::test]
async fn held_writes_pass_and_values_are_given_back() {
    let (crm, other) = (
        Sandbox::start(SandboxSettings::default()).await.unwrap(),
        Sandbox::start(SandboxSettings::default()).await.unwrap(),
    );
    crm.admin().seed(System::Scim, 4, 7).unwrap();
    let both = directory(&crm.scim_url()).replace("systems.directory", "systems.crm") + &directory(&other.scim_url());
    let mapped = format!(
        "budgets = {{ email_change = \"1/1h\" }}\n[connections.{CONNECTION}.attributes]\nuserName = {{}}\nemails = {{}}\n\
         title = {{}}\n"
    );
    let two_way = connection(&mapped).replace("\"a_to_b\"", "\"two_way\"\ndefault_system = \"crm\"");
    let copies = other.admin();
    copies.set_clock(System::Scim, 10_000);
    let served = Served::over(crm, &(both + &two_way), "").await;
    let later =
        |minutes: i64| [&served.admin, &copies].map(|admin| admin.set_clock(System::Scim, 10_000 + minutes * 60_000));

    later(1);
    let people = served.admin.accounts(System::Scim);
    for (number, person) in people.iter().enumerate() {
        let fields = json!({ "emails": [{ "value": format!("new{number}@held.example"), "type": "work", "primary": true }], "title": "Captain" });
        served.admin.edit(System::Scim, person["id"].as_str().unwrap(), &fields).unwrap();
    }
    let first = people[0]["id"].as_str().unwrap();
    let copy = copies.accounts(System::Scim).into_iter().find(|copy| copy["externalId"] == first).unwrap();
    copies.edit(System::Scim, copy["id"].as_str().unwrap(), &json!({ "title": "Boss" })).unwrap();
    later(2);
    served.muster.sync(&["--full"]).await;
    let emails = || {
        let new = copies
            .accounts(System::Scim)
            .into_iter()
            .filter(|copy| copy["emails"].to_string().contains("held.example"));
        new.count()
    };
    assert_eq!(emails(), 1, "the budget's share");

    let browser = Browser::open().await;
    sign_in(&browser, &served, "operator").await;
    browser.press("Held").await;
    browser.sees("(//tbody/tr)[3]").await;
    browser.reads("over budget").await;
    assert_fit(&browser, "held").await;
    browser.press("Let the ticked ones pass").await;
    browser.reads("tick at least one write").await;
    browser.press("Back").await;
    browser.click("(//input[@type='checkbox'])[1]").await;
    browser.press("Let the ticked ones pass").await;
    browser.reads("1 held write approved").await;
    // What passes is listed until a writer has had it.
    browser.click("(//input[@type='checkbox'])[last()]").await;
    browser.press("Refuse the ticked ones").await;
    browser.reads("1 held write rejected").await;
    served.muster.sync(&["--full"]).await;
    assert_eq!(emails(), 2, "one more passed, one was refused, one is held");

    browser.press("Conflicts").await;
    browser.reads("\"Boss\"").await;
    assert_fit(&browser, "conflicts").await;
    browser.press("title").await;
    browser.reads("\"Captain\"").await;
    assert_fit(&browser, "conflict").await;
    browser.press("Give it back").await;
    browser.reads("1 value given back").await;
    served.muster.sync(&["--full"]).await;
    assert_eq!(served.admin.account(System::Scim, first).unwrap()["title"], "Boss");
    assert!(browser.complaints().await.iter().all(|it| it.contains("400")), "only the form that was refused");
    browser.close().await;
}

/// R78: the whole way by keyboard alone: past the navigation by the skip link, to a letter, and sent again.
#[tokio::test]
async fn everything_is_reached_by_keyboard() {
    let mut served = Served::start(1, "").await;
    served.backlog("Steersman").await;
    let browser = Browser::open().await;
    browser.go(&served.url("/")).await;
    // The field has the focus.
    browser.keys(served.token("operator")).await;
    browser.keys(ENTER).await;
    browser.sees("//h1[.='Overview']").await;
    browser.keys(TAB).await;
    assert_eq!(browser.script("return document.activeElement.textContent").await, "Skip to the content");
    let visible = "const box = document.activeElement.getBoundingClientRect(); return box.left >= 0 && box.width > 20";
    assert_eq!(browser.script(visible).await, true, "the link is seen while it has the focus");
    browser.keys(ENTER).await;
    assert_eq!(browser.script("return document.activeElement.id").await, "main");
    for (name, leads_to) in [
        ("open letters", "//h1[.='Dead letters']"),
        ("forbidden", "//h1[.='Letters']"),
        ("00", "//h2[.='Decide']"),
        ("Send it again", "//h1[starts-with(., 'Retry')]"),
    ] {
        let mut tabs = 0;
        loop {
            browser.keys(TAB).await;
            let focused = browser.script("return document.activeElement.textContent.replace(/\\s+/g, ' ')").await;
            let outline = browser.script("return getComputedStyle(document.activeElement).outlineStyle").await;
            assert_ne!(outline, "none", "the focus is seen on {focused}");
            if focused.as_str().unwrap().contains(name)
                && browser.script("return document.activeElement.closest('main') != null").await == true
            {
                break;
            }
            tabs += 1;
            assert!(tabs < 60, "{name} is not reached");
        }
        browser.keys(ENTER).await;
        browser.sees(leads_to).await;
    }
    browser.sees("//dd[@id='outcomes'][contains(., '1 applied')]").await;
    assert!(served.copies().iter().any(|copy| copy["title"] == "Steersman"));
    assert_eq!(browser.complaints().await, [] as [String; 0]);
    browser.close().await;
}

/// R78: pages work without script, forms only from pages of ours, and only as far as the role allows; the session is in a
/// cookie that no script reads and no other page sends.
#[tokio::test]
async fn forms_work_without_script_and_from_nowhere_else() {
    let mut served = Served::start(1, "").await;
    served.backlog("Lookout").await;
    let people = active_users(&served.admin).len();
    let http = Client::builder().redirect(Policy::none()).build().unwrap();
    let origin = served.url("");
    let enter = async |label: &str| {
        let form = http.post(served.url("/sign-in")).header("origin", &origin);
        let form = form.form(&[("token", served.token(label)), ("next", "//elsewhere.example/")]);
        let answer = form.send().await.unwrap();
        assert_eq!((answer.status(), &answer.headers()["location"]), (StatusCode::SEE_OTHER, &"/".parse().unwrap()));
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        cookie.split(';').next().unwrap().to_owned()
    };
    let (operator, viewer) = (enter("operator").await, enter("viewer").await);
    let post = |path: &str, cookie: &str| http.post(served.url(path)).header("cookie", cookie.to_owned());
    let all = [("all", "yes"), ("reason", "accepted")];
    for (name, value) in [("origin", "https://elsewhere.example"), ("sec-fetch-site", "cross-site"), ("x-nothing", "")]
    {
        let answer = post("/letters/discard", &operator).header(name, value).form(&all).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name} {value}");
    }
    let answer = post("/letters/discard", &viewer).header("origin", &origin).form(&all).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN, "a viewer does not act");
    let seen =
        http.get(served.url("/letters/list")).header("cookie", &viewer).send().await.unwrap().text().await.unwrap();
    assert!(!seen.contains("/letters/discard") && seen.contains("forbidden"), "nor is a form shown: {seen}");
    let stranger =
        post("/letters/discard", "muster_session=guess").header("origin", &origin).form(&all).send().await.unwrap();
    assert_eq!(stranger.headers()["location"].to_str().unwrap(), "/sign-in?next=%2F");
    assert_eq!(served.get("viewer", "/letters").await["letters"].as_array().unwrap().len(), people, "nothing was done");

    let answer = post("/letters/discard", &operator).header("origin", &origin).form(&all).send().await.unwrap();
    assert_eq!((answer.status(), answer.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "/letters"));
    let next = http.get(served.url("/letters")).header("cookie", &operator).send().await.unwrap().text().await.unwrap();
    assert!(next.contains(&format!("{people} letters closed as accepted")), "{next}");
    let left = post("/sign-out", &operator).header("origin", &origin).form(&[("", "")]).send().await.unwrap();
    assert!(left.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let after = http.get(served.url("/letters")).header("cookie", &operator).send().await.unwrap();
    assert_eq!(after.status(), StatusCode::SEE_OTHER, "the session is over");
}
