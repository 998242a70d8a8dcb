//! Where a container's output is kept, as its log driver and options say.

use std::path::PathBuf;

use crate::container::record::LogDriver;
use crate::container::{Containers, Record};
use crate::monitor::LogTarget;
use crate::monitor::line::Format;
use crate::monitor::log::Options;

/// Limits of the driver `local` where none are given: docker's.
const LOCAL_SIZE: u64 = 20_000_000;
const LOCAL_FILES: u32 = 5;

impl Containers {
    /// The log file of a container that has one.
    #[must_use]
    pub fn log_path(&self, record: &Record) -> Option<PathBuf> {
        match record.log.driver {
            LogDriver::K8sFile | LogDriver::JsonFile | LogDriver::Local => {
                Some(record.log.path.clone().unwrap_or_else(|| self.dir(&record.id).join("ctr.log")))
            }
            LogDriver::None | LogDriver::Passthrough | LogDriver::Journald => None,
        }
    }

    /// What the monitor does with the output.
    pub(in crate::container) fn log_target(&self, record: &Record) -> LogTarget {
        let log = &record.log;
        if log.driver == LogDriver::Journald {
            return LogTarget::Journal(journal_fields(record));
        }
        let Some(path) = self.log_path(record) else { return LogTarget::None };
        let local = log.driver == LogDriver::Local;
        let or = |given: u64, default: u64| if given == 0 && local { default } else { given };
        LogTarget::File(Options {
            path,
            format: format(log.driver),
            max_size: or(log.max_size, LOCAL_SIZE),
            max_files: if log.max_files == 0 && local { LOCAL_FILES } else { log.max_files },
            compress: local,
        })
    }
}

/// How the lines of a driver's file are written.
pub(super) fn format(driver: LogDriver) -> Format {
    if driver == LogDriver::JsonFile { Format::Json } else { Format::K8s }
}

/// The fields that conmon sends.
fn journal_fields(record: &Record) -> Vec<(String, String)> {
    let tag = tag(record);
    let mut fields = vec![
        ("CONTAINER_ID".to_owned(), record.id.short().to_owned()),
        ("CONTAINER_ID_FULL".to_owned(), record.id.to_string()),
        ("CONTAINER_NAME".to_owned(), record.name.clone()),
        ("SYSLOG_IDENTIFIER".to_owned(), if tag.is_empty() { record.name.clone() } else { tag.clone() }),
    ];
    if !tag.is_empty() {
        fields.push(("CONTAINER_TAG".to_owned(), tag));
    }
    for label in &record.log.labels {
        if let Some((key, value)) = label.split_once('=') {
            fields.push((key.to_owned(), value.to_owned()));
        }
    }
    fields
}

/// The tag; the fields that tags are made of in practice are filled in.
fn tag(record: &Record) -> String {
    let id = record.id.to_string();
    let table = [
        ("{{.ID}}", record.id.short()),
        ("{{.FullID}}", &id),
        ("{{.Name}}", &record.name),
        ("{{.ImageName}}", &record.root.image_name),
        ("{{.ImageID}}", &record.root.image_id),
    ];
    table.iter().fold(record.log.tag.clone(), |tag, (field, value)| tag.replace(field, value))
}
