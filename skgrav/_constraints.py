"""What parameters may be, in scikit-learn's terms.

Its module is private, though estimators outside scikit-learn need it: what changes there is mended
here.
"""

from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

__all__ = ["HasMethods", "Interval", "Options", "StrOptions"]
