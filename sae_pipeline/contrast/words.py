"""Words that changes replace, and what they put instead. You may add to each list: nothing depends on its length."""

COMPANIES = {
    "Apple": "AAPL", "Amazon": "AMZN", "Microsoft": "MSFT", "Tesla": "TSLA", "Netflix": "NFLX", "Nvidia": "NVDA",
    "Intel": "INTC", "Oracle": "ORCL", "Cisco": "CSCO", "Adobe": "ADBE", "Boeing": "BA", "Ford": "F",
    "General Motors": "GM", "General Electric": "GE", "Caterpillar": "CAT", "Walmart": "WMT",
    "Costco": "COST", "Starbucks": "SBUX", "Nike": "NKE", "Pfizer": "PFE", "Merck": "MRK", "Moderna": "MRNA",
    "Exxon": "XOM", "Chevron": "CVX", "Disney": "DIS", "Comcast": "CMCSA", "Goldman Sachs": "GS",
    "Morgan Stanley": "MS", "Citigroup": "C", "Wells Fargo": "WFC", "Visa": "V", "Mastercard": "MA",
    "PayPal": "PYPL", "Uber": "UBER", "FedEx": "FDX", "Delta Air Lines": "DAL", "Siemens": "SIE", "Nokia": "NOK",
    "Ericsson": "ERIC", "Unilever": "UL", "Toyota": "TM", "Sony": "SONY", "Alibaba": "BABA",
}  # fmt: skip
"""Companies whose names mean nothing else in a headline, and their tickers."""

OPPOSITES = {
    "rises": "falls", "rise": "fall", "rose": "fell", "rising": "falling", "risen": "fallen",
    "gains": "drops", "gain": "drop", "gained": "dropped", "gaining": "dropping",
    "jumps": "tumbles", "jump": "tumble", "jumped": "tumbled", "climbs": "slides", "climb": "slide",
    "climbed": "slid", "surges": "plunges", "surge": "plunge", "surged": "plunged", "soars": "sinks",
    "soar": "sink", "soared": "sank", "rallies": "slumps", "rally": "slump", "rallied": "slumped",
    "advances": "declines", "advance": "decline", "advanced": "declined", "rebounds": "retreats",
    "rebound": "retreat", "beats": "misses", "beat": "miss", "beating": "missing", "raises": "cuts",
    "raised": "cut", "raise": "cut", "hikes": "lowers", "boosts": "slashes", "boosted": "slashed",
    "upgrades": "downgrades", "upgraded": "downgraded", "upgrade": "downgrade", "higher": "lower", "up": "down",
    "above": "below", "strong": "weak", "stronger": "weaker", "better": "worse", "upbeat": "gloomy",
    "profit": "loss", "profits": "losses", "bullish": "bearish", "outperform": "underperform",
    "growth": "contraction", "grows": "shrinks", "grew": "shrank", "wins": "loses", "success": "failure",
}  # fmt: skip
"""Words for good news and their opposites. An opposite that several share is replaced by the first of them."""

TURNED_AROUND = (
    "debt", "cost", "costs", "expenses", "jobless", "unemployment", "inflation", "tariff", "tariffs", "tax", "taxes",
    "deficit", "yield", "yields", "rate", "rates", "risk", "risks", "layoffs", "claims", "volatility", "vix",
    "short", "shorts", "gold", "oil", "prices", "spending",
)  # fmt: skip
"""Words of which less may be good news, or whose direction is neither; such headlines are not turned."""

VERBS = {
    "rises": "rise", "gains": "gain", "jumps": "jump", "climbs": "climb", "surges": "surge", "soars": "soar",
    "rallies": "rally", "advances": "advance", "rebounds": "rebound", "beats": "beat", "raises": "raise",
    "hikes": "hike", "boosts": "boost", "upgrades": "upgrade", "grows": "grow", "wins": "win", "falls": "fall",
    "drops": "drop", "tumbles": "tumble", "slides": "slide", "plunges": "plunge", "sinks": "sink",
    "slumps": "slump", "declines": "decline", "retreats": "retreat", "misses": "miss", "cuts": "cut",
    "lowers": "lower", "slashes": "slash", "downgrades": "downgrade", "shrinks": "shrink", "loses": "lose",
}  # fmt: skip
"""Verbs of OPPOSITES after he, she or it, and their plain forms."""

SOURCES = ("Reuters", "Bloomberg", "CNBC", "WSJ", "FT", "MarketWatch", "Barron's", "AP", "sources")
LINK = "https://news.example/7kq2xw"
RETWEET = "RT "

SUBJECTS = ("shares", "stock", "stocks", "revenue", "sales", "profit", "earnings", "market", "price", "demand")
"""Words before VERBS, beside names, that show that they are no nouns ("extends gains")."""

FIXED_NUMBERS = (
    "S&P", "Dow", "Nasdaq", "FTSE", "Russell", "Nikkei", "Fortune", "CAC", "DAX", "Stoxx", "Covid", "Jan", "Feb", "Mar",
    "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
"""Names, or beginnings of names, after which a number is a part of the name."""

TEMPLATES = (
    "{company} shares rise {n}% after strong quarterly results",
    "{company} beats earnings estimates, revenue up {n}%",
    "{company} raises full-year guidance on strong demand",
    "{company} upgraded at Morgan Stanley, price target ${m}",
    "${ticker} +{n}% in early trading on upbeat outlook",
    "{company} wins ${m} million contract, stock jumps",
    "{company} shares fall {n}% after weak quarterly results",
    "{company} misses earnings estimates, revenue down {n}%",
    "{company} cuts full-year guidance on weak demand",
    "{company} downgraded at Goldman Sachs, price target ${m}",
    "${ticker} -{n}% in early trading on gloomy outlook",
    "{company} posts surprise loss of ${m} million, stock tumbles",
    "{company} to report third-quarter results on October {d}",
    "{company} names new chief financial officer",
    "{company} to present at technology conference on May {d}",
    "${ticker}: {company} declares quarterly dividend of $0.{m}",
)
"""Headlines with places for a company, its ticker, a number and a day."""
