use crate::conversion::{Conversion, Options, Written};
use crate::error::ConvertError;
use crate::files::{Files, Text};
use crate::setup::Setup;
pub(crate) fn read(_: &mut Files, _: &Text, _: &Options) -> Result<Conversion, ConvertError> { Ok(Conversion::default()) }
pub(crate) fn write(_: &Setup) -> Written { Written::default() }
