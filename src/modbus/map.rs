//! `vigia modbus map`: where the server has each sensor of the site.

use std::path::Path;

use clap::Args;
use vigia_kit::sensors::Sensors;
use vigia_kit::site::Site;
use vigia_modbus::encoding::Type;
use vigia_modbus::register::Kind;
use vigia_modbus::server::layout::{block_of, fields};

use super::check::word;
use super::reference;
use crate::exit::{Answer, Outcome};
use crate::table::{columns, print};

#[derive(Debug, Args)]
#[command(after_help = "\
Addresses are counted from 0, references from 1 with the kind in front. All are input registers, and the same
as holding registers. Of more than one register the most significant one is first (ABCD). An address depends on
the sensor's number alone: it does not move when sensors come and go.

Examples:
  vigia modbus map --site /srv/vigia
  vigia modbus map --csv > registers.csv")]
pub(super) struct Options {
    /// As CSV
    #[arg(long)]
    csv: bool,
}

pub(super) fn run(site: &Path, options: &Options) -> Outcome {
    let site = Site::open(site)?;
    let profiles = site.config.profiles()?;
    let heading =
        ["sensor", "name", "unit", "address", "reference", "type", "field", "measured_in"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (sensor, entry) in Sensors::of(&site).all()? {
        // A profile that was taken out of the configuration since: the role does not know it either.
        let Some(profile) = profiles.get(&entry.profile) else { continue };
        let (unit, start) = block_of(sensor);
        for field in fields(profile) {
            let address = start + field.offset;
            rows.push(vec![
                sensor.to_string(),
                entry.name.clone(),
                unit.to_string(),
                address.to_string(),
                reference(Kind::Input, address),
                word(&Type::WORDS, field.what).to_owned(),
                field.name,
                field.unit,
            ]);
        }
    }
    if options.csv {
        print(&csv(&rows))?;
    } else {
        rows[0].iter_mut().for_each(|title| *title = title.replace('_', " ").to_uppercase());
        print(&columns(&rows))?;
    }
    Ok(Answer::Yes)
}

/// RFC 4180.
fn csv(rows: &[Vec<String>]) -> String {
    let cell = |cell: &String| {
        if cell.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    };
    let line = |row: &Vec<String>| row.iter().map(cell).collect::<Vec<_>>().join(",") + "\r\n";
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_csv_cannot_have_is_quoted() {
        let row = ["a", "b,c", "d\"e"].map(str::to_owned).to_vec();
        assert_eq!(csv(&[row]), "a,\"b,c\",\"d\"\"e\"\r\n");
    }
}
