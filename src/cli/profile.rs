//! Profiles: files of TOML with one key for each flag. A profile becomes words of a command line that stand before the
//! user's own, so it is read by the same parser and means the same.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command};
use toml::{Table, Value};

/// The profiles that come with the program.
const BUILT_IN: [(&str, &str); 4] = [
    ("default", include_str!("profiles/default.toml")),
    ("strict", include_str!("profiles/strict.toml")),
    ("build", include_str!("profiles/build.toml")),
    ("bench", include_str!("profiles/bench.toml")),
];

/// Flags of which one on the command line takes the place of another in a profile.
const ALTERNATIVES: [&[&str]; 6] = [
    &["net", "unshare-net", "share-net"],
    &["pty", "no-pty"],
    &["keep-env", "clear-env"],
    &["proc", "no-proc"],
    &["devfs", "no-devfs"],
    &["noroot", "cap-add"],
];

/// The words of a profile, without those that the command line has an answer to.
pub(super) fn words(
    profile: &OsStr,
    command: &Command,
    given: &ArgMatches,
) -> Result<Vec<OsString>, String> {
    let shown = profile.to_string_lossy();
    let refuse = |why: String| format!("--profile={shown}: {why}");
    let text = read(profile).map_err(refuse)?;
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| refuse(format!("it is no TOML: {}", error.message())))?;
    match table.get("version") {
        Some(Value::Integer(1)) => {}
        Some(_) => {
            return Err(refuse(
                "its version is not known: this program reads version = 1".to_owned(),
            ));
        }
        None => {
            return Err(refuse(
                "it has no version: begin it with version = 1".to_owned(),
            ));
        }
    }
    let mut words = Vec::new();
    for (key, value) in table.iter().filter(|(key, _)| *key != "version") {
        let flag = command
            .get_arguments()
            .find(|flag| {
                flag.get_long() == Some(key)
                    && key != "profile"
                    && key != "help"
                    && key != "version"
            })
            .ok_or_else(|| {
                refuse(format!(
                    "the key {key:?} is no flag: a key is a long flag without --"
                ))
            })?;
        let is_given = |name: &str| {
            given.value_source(&name.replace('-', "_")) == Some(ValueSource::CommandLine)
        };
        let alternatives = ALTERNATIVES.iter().find(|all| all.contains(&key.as_str()));
        let repeats = matches!(flag.get_action(), ArgAction::Append);
        let decided = (is_given(key) && !repeats)
            || alternatives
                .is_some_and(|all| all.iter().any(|other| other != key && is_given(other)));
        let takes_value = flag.get_action().takes_values();
        let flag_words = words_of(key, value, takes_value, repeats).map_err(refuse)?;
        if !decided {
            words.extend(flag_words);
        }
    }
    Ok(words)
}

fn read(profile: &OsStr) -> Result<String, String> {
    let name = profile.to_str().unwrap_or_default();
    if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok((*text).to_owned());
    }
    if !name.contains('/') && !name.ends_with(".toml") {
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "there is no such profile: {}, or a file's path with / or .toml",
            names.join(", ")
        ));
    }
    std::fs::read_to_string(profile).map_err(|error| format!("it cannot be read: {error}"))
}

/// A key and its value as the command line has them.
fn words_of(
    key: &str,
    value: &Value,
    takes_value: bool,
    repeats: bool,
) -> Result<Vec<OsString>, String> {
    let one = |value: &Value| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            _ => {
                return Err(format!(
                    "{key} has a value of another kind than its flag takes"
                ));
            }
        };
        Ok(OsString::from(format!("--{key}={text}")))
    };
    match value {
        Value::Boolean(true) if !takes_value => Ok(vec![format!("--{key}").into()]),
        Value::Boolean(false) if !takes_value => Ok(Vec::new()),
        _ if !takes_value => Err(format!("{key} is true or false")),
        Value::Array(values) if repeats => values.iter().map(one).collect(),
        value => one(value).map(|word| vec![word]),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::arguments::Arguments;
    use super::*;

    fn of(name: &str, line: &[&str]) -> Result<Vec<OsString>, String> {
        let command = Arguments::command();
        let given = command
            .clone()
            .try_get_matches_from(["x"].iter().chain(line).chain(&["true"]))
            .unwrap();
        words(OsStr::new(name), &command, &given)
    }

    #[test]
    fn every_built_in_profile_is_read() {
        for (name, _) in BUILT_IN {
            let words = of(name, &[]).unwrap();
            let all = [vec!["x".into()], words, vec!["true".into()]].concat();
            Arguments::command().try_get_matches_from(all).unwrap();
        }
        assert!(of("no-such", &[]).unwrap_err().contains("strict, build"));
    }

    #[test]
    fn the_command_line_wins() {
        let has = |words: &[OsString], word: &str| words.iter().any(|it| it == word);
        let plain = of("strict", &[]).unwrap();
        assert!(
            has(&plain, "--memory=2G") && has(&plain, "--clear-env") && has(&plain, "--noroot")
        );
        let changed = of("strict", &["--memory=1G", "--keep-env", "--share-net"]).unwrap();
        assert!(
            !has(&changed, "--memory=2G")
                && !has(&changed, "--clear-env")
                && !has(&changed, "--net=none")
        );
        assert!(
            has(&of("build", &["--bind=/x"]).unwrap(), "--bind=."),
            "lists grow"
        );
    }

    #[test]
    fn values_must_be_of_their_flags_kind() {
        let read = |key: &str, value: &str, takes: bool, repeats: bool| {
            let table: Table = format!("k = {value}").parse().unwrap();
            words_of(key, &table["k"], takes, repeats)
        };
        assert_eq!(
            read("wait", "true", false, false),
            Ok(vec!["--wait".into()])
        );
        assert_eq!(read("wait", "false", false, false), Ok(Vec::new()));
        assert!(read("wait", "1", false, false).is_err());
        assert_eq!(read("bind", "['a', 'b']", true, true).unwrap().len(), 2);
        assert!(read("memory", "['a', 'b']", true, false).is_err());
        assert!(read("memory", "true", true, false).is_err());
        assert_eq!(
            read("cpus", "0.5", true, false),
            Ok(vec!["--cpus=0.5".into()])
        );
    }
}
