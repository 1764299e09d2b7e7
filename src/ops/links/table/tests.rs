use super::*;
use crate::systems::salesforce;

fn names(headers: &[&str], partners: bool, called: &[&str]) -> Names {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Names { headers: texts(headers), partners, called: texts(called) }
}

/// A Salesforce org and a system whose ids are numbers.
fn parse(side: Side, text: &str) -> Option<AccountId> {
    match side {
        Side::A => salesforce::parse_id(text),
        Side::B => text.parse::<u64>().ok()?.to_string().parse().ok(),
    }
}

fn read_with(text: &[u8], given: Sides<Option<String>>) -> Result<Vec<Row>, String> {
    let names = Sides {
        a: names(&["a", "crm", "user id"], false, &["crm", "salesforce"]),
        b: names(&["b", "chat", "operator id"], false, &["chat", "iadvize"]),
    };
    let reading = Reading { names: &names, given: &given, parse: &parse };
    read(text, &reading).map_err(|error| error.to_string())
}

/// Lines, and what they say: `a b`, or the code or the reason.
fn lines(rows: &[Row]) -> Vec<(u64, String)> {
    let says = |row: &Row| match &row.says {
        Says::Pair(Sides { a, b }) => format!("{a} {b}"),
        Says::Bad { code, .. } => (*code).to_owned(),
        Says::Nothing { reason } => reason.clone(),
    };
    rows.iter().map(|row| (row.line, says(row))).collect()
}

#[track_caller]
fn check(text: &str, expected: &[(u64, &str)]) {
    let rows = read_with(text.as_bytes(), Sides::default()).unwrap();
    let expected: Vec<_> = expected.iter().map(|(line, says)| (*line, (*says).to_owned())).collect();
    assert_eq!(lines(&rows), expected, "{text}");
}

const ADA: &str = "005RM000001iKYtYAM";

/// R48, R52: a report with ids of 15 characters is taken as it comes, with the lines that it ends with.
#[test]
fn a_report_is_taken_as_it_comes() {
    check(
        "\u{feff}\"First Name\",\"User ID\",\"Operator ID\"\r\n\"Ada, Countess\",\"005RM000001iKYt\",\"12\"\r\n\
         \"Two\nlines\",\"005RM000001iKYt\",\"x7\"\r\n\"\",\"\",\"7\"\r\n\r\n\"Users Report\"\r\n\"Copyright (c)\"\r\n",
        &[
            (2, &format!("{ADA} 12")),
            (3, "not_an_id"),
            (5, "no_id"),
            (7, "not a row of the table"),
            (8, "not a row of the table"),
        ],
    );
}

#[test]
fn whatever_a_spreadsheet_saves_is_taken() {
    let pair = [(2, &*format!("{ADA} 12"))];
    check(&format!("a,b\n{ADA},12\n"), &pair);
    check(&format!("b;a\r\n12;{ADA}"), &pair);
    check(&format!("crm\tchat\n{ADA}\t12\n"), &pair);
    check(&format!("CRM,note,\"Operator_ID__c\"\n {ADA} ,\"a \"\"b\"\"\",012\n"), &pair);
    check(&format!("sep=;\na;b\n{ADA};12\n"), &[(3, &*format!("{ADA} 12"))]);
    // An id whose letter case was lost is refused, not taken for another one.
    check("a,b\n005rm000001ikytYAM,12\n", &[(2, "not_an_id")]);
}

#[test]
fn a_file_without_the_columns_says_which_there_could_be() {
    for (text, said) in [
        ("", "the file is empty"),
        ("x,b\n", "side a: one of \"a\", \"crm\", \"user id\"; or name it with --a"),
        ("a,x\n", "side b: one of"),
    ] {
        let error = read_with(text.as_bytes(), Sides::default()).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert!(read_with(b"\xFF\xFEa", Sides::default()).unwrap_err().contains("UTF-16"));
    let given = Sides { a: Some("Agent".to_owned()), b: None };
    let rows = read_with(format!("agent,b\n{ADA},1\n").as_bytes(), given.clone()).unwrap();
    assert_eq!(lines(&rows), [(2, format!("{ADA} 1"))]);
    assert!(read_with(b"a,b\n", given).unwrap_err().contains("no column \"Agent\""));
}

/// R48: SalesScreen's own list of mappings: the external id is the account on both sides, if it is of the right system.
#[test]
fn a_list_of_external_ids_tells_both_sides() {
    let names = Sides {
        a: names(&["a", "user id"], false, &["crm", "salesforce"]),
        b: names(&["b", "external id"], true, &["results", "salesscreen"]),
    };
    let parse = |_: Side, text: &str| salesforce::parse_id(text);
    let reading = Reading { names: &names, given: &Sides::default(), parse: &parse };
    let text = "Email,External ID,System\nada@x.example,005RM000001iKYt,Salesforce\nada@x.example,77,HubSpot\n";
    let rows = read(text.as_bytes(), &reading).map_err(|error| error.to_string()).unwrap();
    assert_eq!(lines(&rows), [(2, format!("{ADA} {ADA}")), (3, "about another system".to_owned())]);
    // And so does the org's own report.
    let rows = read(b"User ID,Email\n005RM000001iKYt,ada@x.example\n", &reading).map_err(|error| error.to_string());
    assert_eq!(lines(&rows.unwrap()), [(2, format!("{ADA} {ADA}"))]);
}

/// R5: what a cell holds that is no id is never shown.
#[test]
fn no_cell_is_shown() {
    let rows = read_with(b"a,b\nhush-hush,hush-hush\n", Sides::default()).unwrap();
    assert!(!format!("{rows:?}").contains("hush"), "{rows:?}");
}
