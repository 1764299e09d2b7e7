//! Values of the restricted picklists of users.

pub(super) const ENCODINGS: &[&str] =
    &["UTF-8", "ISO-8859-1", "ISO-8859-15", "Shift_JIS", "ISO-2022-JP", "EUC-JP", "ks_c_5601-1987", "Big5", "GB2312"];

pub(super) const LANGUAGES: &[&str] = &[
    "en_US", "de", "es", "fr", "it", "ja", "sv", "ko", "zh_TW", "zh_CN", "pt_BR", "nl_NL", "da", "th", "fi", "ru",
    "es_MX", "no", "ar", "bg", "cs", "el", "en_GB", "hi", "hu", "iw", "pl", "pt_PT", "ro", "sk", "tr", "uk", "vi",
];

pub(super) const LOCALES: &[&str] = &[
    "en_US", "en_GB", "en_AU", "en_CA", "en_IE", "en_IN", "fr_FR", "fr_BE", "fr_CA", "fr_CH", "de_DE", "de_AT",
    "de_CH", "es_ES", "es_MX", "it_IT", "pt_BR", "pt_PT", "nl_NL", "nl_BE", "sv_SE", "da_DK", "fi_FI", "no_NO",
    "pl_PL", "cs_CZ", "uk_UA", "ru_RU", "el_GR", "tr_TR", "ja_JP", "ko_KR", "zh_CN", "zh_TW", "ar_AE", "iw_IL",
    "hi_IN", "th_TH", "vi_VN",
];

pub(super) const TIME_ZONES: &[&str] = &[
    "Europe/London",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Europe/Paris",
    "Europe/Berlin",
    "Europe/Madrid",
    "Europe/Rome",
    "Europe/Amsterdam",
    "Europe/Brussels",
    "Europe/Zurich",
    "Europe/Vienna",
    "Europe/Stockholm",
    "Europe/Warsaw",
    "Europe/Prague",
    "Europe/Athens",
    "Europe/Kyiv",
    "Europe/Istanbul",
    "Europe/Helsinki",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "America/Mexico_City",
    "America/Toronto",
    "Asia/Tokyo",
    "Asia/Seoul",
    "Asia/Shanghai",
    "Asia/Hong_Kong",
    "Asia/Singapore",
    "Asia/Kolkata",
    "Asia/Dubai",
    "Asia/Jerusalem",
    "Australia/Sydney",
    "Pacific/Auckland",
    "Africa/Johannesburg",
    "GMT",
];
