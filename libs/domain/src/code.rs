//! Stable numbers for enums.

/// Gives an enum with explicit discriminants the functions `code` and `from_code`.
macro_rules! stable_codes {
    ($name:ident { $($variant:ident = $code:literal),+ $(,)? }) => {
        impl $name {
            /// The stable number of this value, the same as in `proto/`.
            pub const fn code(self) -> i16 {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// The value with this number; none for a number that stands for nothing.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use stable_codes;
