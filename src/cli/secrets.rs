//! Command lines as they are logged and kept: without the secrets in them.

/// Options whose value is a secret, or has one in it.
const SECRETS: [&str; 2] = ["--creds", "--decryption-key"];
/// Those of `login`; other commands have other meanings for them.
const SECRETS_OF_LOGIN: [&str; 2] = ["--password", "-p"];

/// What stands for a secret.
const HIDDEN: &str = "***";

/// The command line of this process, as a container's record has it.
#[must_use]
pub fn command_line() -> Vec<String> {
    hide(std::env::args())
}

/// `words` with every secret replaced.
#[must_use]
pub fn hide(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let (mut all, mut follows, mut is_login) = (Vec::new(), false, false);
    for word in words {
        if std::mem::take(&mut follows) {
            all.push(HIDDEN.to_owned());
            continue;
        }
        is_login |= word == "login";
        let of_login = SECRETS_OF_LOGIN.iter().filter(|_| is_login);
        let option = SECRETS.iter().chain(of_login).find(|option| word.starts_with(**option));
        all.push(match option.map(|option| (option, &word[option.len()..])) {
            Some((_, "")) => {
                follows = true;
                word
            }
            Some((option, value)) if value.starts_with('=') => format!("{option}={HIDDEN}"),
            // A short option may have its value in the same word.
            Some((option, _)) if !option.starts_with("--") => format!("{option}{HIDDEN}"),
            _ => word,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s74_secrets_of_a_command_line_are_hidden() {
        for (line, expected) in [
            ("rbox pull --creds=u:p x", "rbox pull --creds=*** x"),
            ("rbox pull --creds u:p x", "rbox pull --creds *** x"),
            ("rbox pull --decryption-key k:pass x", "rbox pull --decryption-key *** x"),
            ("rbox login -u me -p secret host", "rbox login -u me -p *** host"),
            ("rbox login -u me -psecret --password=other host", "rbox login -u me -p*** --password=*** host"),
            ("rbox login --password-stdin host", "rbox login --password-stdin host"),
            ("rbox run -p 80:80 --pull=always x", "rbox run -p 80:80 --pull=always x"),
            ("rbox run x mysql --password y", "rbox run x mysql --password y"),
        ] {
            let words = line.split(' ').map(str::to_owned);
            assert_eq!(hide(words).join(" "), expected);
        }
    }
}
