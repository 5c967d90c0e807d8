"""What the shop sells, and the price of each."""

from decimal import Decimal

PRICES = {
    "bolt": Decimal("0.15"),
    "nut": Decimal("0.08"),
    "bracket": Decimal("2.40"),
    "shelf": Decimal("24.90"),
    "lamp": Decimal("39.00"),
}

BUNDLE_DISCOUNT = Decimal("0.05")
