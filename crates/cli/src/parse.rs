//! The notations of the command line: positions, sizes, times, kinds, settings of a group.

use slipring::{Backoff, GroupSettings, Kinds};
use std::str::FromStr;
use std::time::Duration;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Earliest,
    Latest,
    At(u64),
    /// So many messages before the head.
    Back(u64),
}

impl FromStr for Origin {
    type Err = String;
    fn from_str(text: &str) -> Result<Origin, String> {
        let number = |digits: &str| {
            digits.replace('_', "").parse().map_err(|_| format!("{text:?} is not earliest, latest, N or -N"))
        };
        Ok(match text {
            "earliest" | "beginning" => Origin::Earliest,
            "latest" | "end" => Origin::Latest,
            _ => match text.strip_prefix('-') {
                Some(digits) => Origin::Back(number(digits)?),
                None => Origin::At(number(text)?),
            },
        })
    }
}

/// A number such as `65536`, `64Ki`, `1M` or `1_000_000`.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a number such as 4096, 4Ki or 1_000_000");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match text[digits.len()..].trim_end_matches('B') {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" | "K" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.replace('_', "").parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

pub(crate) fn size(text: &str) -> Result<usize, String> {
    usize::try_from(count(text)?).map_err(|error| error.to_string())
}

/// A time such as `30s`, `250ms` or `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    // Added to a clock, more would overflow.
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err(format!("{text} is longer than a hundred years")),
        Err(_) => Err(format!("{text:?} is not a time such as 250ms, 30s or 2h")),
    }
}

/// A user, by number or by name.
pub(crate) fn user(text: &str) -> Result<u32, String> {
    let by_name = || crate::facts::user_number(text);
    text.parse()
        .ok()
        .or_else(by_name)
        .ok_or_else(|| format!("{text:?} is no user of /etc/passwd, and no number"))
}

/// Permission bits in octal.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let bits = u32::from_str_radix(text.trim_start_matches("0o"), 8).ok().filter(|bits| *bits <= 0o777);
    bits.ok_or_else(|| format!("{text:?} is not a mode such as 600 or 660"))
}

/// Which messages: `3`, `!3` or `..3`.
pub(crate) fn kinds(text: &str) -> Result<Kinds, String> {
    let number = |digits: &str| {
        digits.parse().map_err(|_| format!("{text:?} is not a kind: say 3, !3 (all but 3) or ..3 (up to 3)"))
    };
    Ok(match (text.strip_prefix('!'), text.strip_prefix("..")) {
        (Some(digits), _) => Kinds::Except(number(digits)?),
        (None, Some(digits)) => Kinds::AtMost(number(digits)?),
        (None, None) => Kinds::Equal(number(text)?),
    })
}

/// A group: its name, and its settings if any are given.
#[derive(Clone, Debug)]
pub(crate) struct GroupSpec {
    pub(crate) name: String,
    pub(crate) settings: GroupSettings,
}

/// How to write the settings of a group.
pub(crate) const SETTINGS_HELP: &str = "\
A group is written NAME or NAME:SETTING=VALUE,…

  ack-wait=30s          how long a lease lasts
  max-deliver=5         attempts before a message goes to the dead-letter ring; or `unlimited`
  max-ack-pending=1000  messages in flight before no new one is given out
  backoff=none          how long a failed message rests: a list 1s/5s/30s, or doubling 100ms..10s
  jitter=50             up to so many percent are taken off a doubling backoff

These are the defaults.";

impl FromStr for GroupSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<GroupSpec, String> {
        let (name, list) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() {
            return Err("a group needs a name".to_owned());
        }
        let items = list.split(',').filter(|item| !item.is_empty());
        Ok(GroupSpec { name: name.to_owned(), settings: changed(GroupSettings::new(), items)? })
    }
}

/// Settings with some of them changed: each item is written SETTING=VALUE.
pub(crate) fn changed<'a>(
    mut settings: GroupSettings,
    items: impl IntoIterator<Item = &'a str>,
) -> Result<GroupSettings, String> {
    let mut jitter = None;
    for item in items {
        let (key, value) = item.split_once('=').ok_or_else(|| format!("{item:?} is not SETTING=VALUE"))?;
        let number = || value.replace('_', "").parse().map_err(|_| format!("{key}={value:?}: not a number"));
        settings = match key.replace('_', "-").as_str() {
            "ack-wait" => settings.ack_wait(duration(value)?),
            "max-deliver" if value == "unlimited" => settings.max_deliver(None),
            "max-deliver" => settings
                .max_deliver(u32::try_from(number()?).map_err(|_| format!("{key}={value}: too large"))?),
            "max-ack-pending" => settings.max_ack_pending(number()?),
            "backoff" => settings.backoff(parse_backoff(value)?),
            "jitter" => {
                let percent = number()?;
                let fits = u8::try_from(percent).ok().filter(|percent| *percent <= 100);
                jitter = Some(fits.ok_or_else(|| format!("jitter={percent}: at most 100 percent"))?);
                settings
            }
            _ => {
                return Err(format!(
                    "{key:?} is none of ack-wait, max-deliver, max-ack-pending, backoff, jitter"
                ));
            }
        };
    }
    if let (Backoff::Exponential { jitter_percent, .. }, Some(percent)) = (&mut settings.backoff, jitter) {
        *jitter_percent = percent;
    } else if jitter.is_some() {
        return Err("jitter needs a doubling backoff such as backoff=100ms..10s".to_owned());
    }
    Ok(settings)
}

fn parse_backoff(text: &str) -> Result<Backoff, String> {
    if text == "none" {
        return Ok(Backoff::None);
    }
    if let Some((first, longest)) = text.split_once("..") {
        return Ok(Backoff::exponential(duration(first)?, duration(longest)?));
    }
    let steps = text.split('/').map(duration).collect::<Result<Vec<_>, _>>()?;
    if steps.len() > 16 {
        return Err("a backoff has at most 16 steps".to_owned());
    }
    Ok(Backoff::steps(&steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        assert_eq!("earliest".parse(), Ok(Origin::Earliest));
        assert_eq!("-3".parse(), Ok(Origin::Back(3)));
        assert_eq!("1_000".parse(), Ok(Origin::At(1000)));
        assert!("x".parse::<Origin>().is_err() && "--3".parse::<Origin>().is_err());
    }

    #[test]
    fn numbers() {
        assert_eq!(count("64Ki"), Ok(65536));
        assert_eq!(count("1_000k"), Ok(1_000_000));
        for wrong in ["", "k", "-1", "1Q", "99999999999Gi"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
        assert_eq!(mode("660"), Ok(0o660));
        assert!(mode("1777").is_err() && mode("9").is_err());
    }

    #[test]
    fn settings_of_a_group() {
        let spec: GroupSpec =
            "sms:ack-wait=5s,max-deliver=unlimited,max_ack_pending=7,backoff=100ms..10s,jitter=10"
                .parse()
                .unwrap();
        let expected = GroupSettings::new()
            .ack_wait(Duration::from_secs(5))
            .max_deliver(None)
            .max_ack_pending(7)
            .backoff(Backoff::Exponential { first_ms: 100, longest_ms: 10_000, jitter_percent: 10 });
        assert_eq!((spec.name.as_str(), spec.settings), ("sms", expected));
        let steps: GroupSpec = "a:backoff=1s/5s".parse().unwrap();
        let expected = Backoff::steps(&[Duration::from_secs(1), Duration::from_secs(5)]);
        assert_eq!(steps.settings.backoff, expected);
        for wrong in ["", ":", "a:b", "a:b=1", "a:ack-wait=1", "a:jitter=5", "a:max-deliver=x", "a:backoff=1"]
        {
            assert!(wrong.parse::<GroupSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn kinds_as_msgrcv_has_them() {
        assert_eq!(kinds("3"), Ok(Kinds::Equal(3)));
        assert_eq!(kinds("!3"), Ok(Kinds::Except(3)));
        assert_eq!(kinds("..3"), Ok(Kinds::AtMost(3)));
        assert!(kinds("x").is_err());
    }

    #[test]
    fn settings_are_shown_as_they_are_written() {
        for written in [
            "ack-wait=30s,max-deliver=5,max-ack-pending=1000,backoff=none",
            "ack-wait=1m30s,max-deliver=unlimited,max-ack-pending=7,backoff=1s500ms/5s",
            "ack-wait=1ms,max-deliver=126,max-ack-pending=1,backoff=0s/12days",
            "ack-wait=1h,max-deliver=1,max-ack-pending=9,backoff=100ms..10s,jitter=0",
        ] {
            let spec: GroupSpec = format!("g:{written}").parse().unwrap();
            assert_eq!(crate::facts::settings_text(&spec.settings), written);
        }
    }
}
