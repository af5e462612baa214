//! A serial line: a terminal that passes bytes on as they are, at the map's speed.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, ioctl_tiocexcl, tcflush, tcgetattr, tcsetattr,
};
use tokio::io::{Join, join};
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::map::{Parity, Serial};

/// Both directions. Bytes of a line come and go as those of a pipe do.
pub(crate) type SerialLine = Join<Receiver, Sender>;

/// Opens it for this process alone, and forgets what has come before.
///
/// # Errors
/// What the system says: no such line, another owner, a speed that it cannot.
pub(crate) fn open(line: &Serial) -> io::Result<SerialLine> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&line.path, flags, Mode::empty())?;
    ioctl_tiocexcl(&file)?;
    let mut mode = tcgetattr(&file)?;
    mode.make_raw();
    mode.set_speed(line.baud)?;
    // Nobody dials, and no other wires are needed than those of the data.
    mode.control_modes |= ControlModes::CREAD | ControlModes::CLOCAL;
    let (even, odd) = (ControlModes::PARENB, ControlModes::PARODD);
    let parity = match line.parity {
        Parity::Even => even,
        Parity::Odd => even | odd,
        Parity::None => ControlModes::empty(),
    };
    mode.control_modes.remove(even | odd | ControlModes::CRTSCTS | ControlModes::CSTOPB);
    mode.control_modes |= parity;
    mode.control_modes.set(ControlModes::CSTOPB, line.stop_bits == 2);
    tcsetattr(&file, OptionalActions::Now, &mode)?;
    tcflush(&file, QueueSelector::IOFlush)?;
    let file = File::from(file);
    let other = file.try_clone()?;
    Ok(join(Receiver::from_file_unchecked(file)?, Sender::from_file_unchecked(other)?))
}

/// The silence between two frames: three and a half characters of 11 bits, or a fixed time on fast lines (MSL 2.5.1.1).
pub(crate) fn silence(baud: u32) -> Duration {
    const FAST: u32 = 19_200;
    if baud > FAST {
        return Duration::from_micros(1_750);
    }
    Duration::from_secs_f64(3.5 * 11.0 / f64::from(baud.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_apart_by_three_and_a_half_characters() {
        assert_eq!(silence(19_200).as_micros(), 2_005);
        assert_eq!(silence(9_600).as_micros(), 4_010);
        assert_eq!(silence(115_200).as_micros(), 1_750);
    }
}
