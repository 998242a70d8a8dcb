//! What error numbers are called.
//!
//! C libraries word some of them in their own way (musl: "Address in use"); people and scripts know them as
//! errno(3) of Linux has them, and so does podman, by the table of Go.

/// What musl words differently, in the order of the numbers.
const NAMES: &[(i32, &str)] = &[
    (libc::EIO, "input/output error"),
    (libc::ECHILD, "no child processes"),
    (libc::ENOMEM, "cannot allocate memory"),
    (libc::EBUSY, "device or resource busy"),
    (libc::EXDEV, "invalid cross-device link"),
    (libc::EMFILE, "too many open files"),
    (libc::ENOTTY, "inappropriate ioctl for device"),
    (libc::ESPIPE, "illegal seek"),
    (libc::EDOM, "numerical argument out of domain"),
    (libc::ERANGE, "numerical result out of range"),
    (libc::EDEADLK, "resource deadlock avoided"),
    (libc::ENAMETOOLONG, "file name too long"),
    (libc::ELOOP, "too many levels of symbolic links"),
    (libc::ETIME, "timer expired"),
    (libc::ENONET, "machine is not on the network"),
    (libc::EREMOTE, "object is remote"),
    (libc::EOVERFLOW, "value too large for defined data type"),
    (libc::EREMCHG, "remote address changed"),
    (libc::ELIBACC, "can not access a needed shared library"),
    (libc::ELIBBAD, "accessing a corrupted shared library"),
    (libc::EILSEQ, "invalid or incomplete multibyte or wide character"),
    (libc::EUSERS, "too many users"),
    (libc::ENOTSOCK, "socket operation on non-socket"),
    (libc::EMSGSIZE, "message too long"),
    (libc::EOPNOTSUPP, "operation not supported"),
    (libc::EADDRINUSE, "address already in use"),
    (libc::EADDRNOTAVAIL, "cannot assign requested address"),
    (libc::ENETUNREACH, "network is unreachable"),
    (libc::ENETRESET, "network dropped connection on reset"),
    (libc::ECONNABORTED, "software caused connection abort"),
    (libc::EISCONN, "transport endpoint is already connected"),
    (libc::ENOTCONN, "transport endpoint is not connected"),
    (libc::ESHUTDOWN, "cannot send after transport endpoint shutdown"),
    (libc::ETOOMANYREFS, "too many references: cannot splice"),
    (libc::ETIMEDOUT, "connection timed out"),
    (libc::EHOSTUNREACH, "no route to host"),
    (libc::EINPROGRESS, "operation now in progress"),
    (libc::EUCLEAN, "structure needs cleaning"),
    (libc::EDQUOT, "disk quota exceeded"),
    (libc::EOWNERDEAD, "owner died"),
    (libc::ERFKILL, "operation not possible due to RF-kill"),
    (libc::EHWPOISON, "memory page has hardware error"),
];

/// The words for `errno`, which begin with a small letter.
#[must_use]
pub fn describe(errno: i32) -> String {
    if let Some((_, name)) = NAMES.iter().find(|(number, _)| *number == errno) {
        return (*name).to_owned();
    }
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    // The standard library adds the number.
    let bare = text.strip_suffix(&format!(" (os error {errno})")).unwrap_or(&text);
    let mut characters = bare.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_manual() {
        for (errno, name) in [
            (libc::ENOENT, "no such file or directory"),
            (libc::EADDRINUSE, "address already in use"),
            (libc::ENOSPC, "no space left on device"),
            (libc::EBUSY, "device or resource busy"),
            (libc::EPERM, "operation not permitted"),
        ] {
            assert_eq!(describe(errno), name);
        }
    }
}
