/** A module that fails while it is loaded. */
throw new RangeError('the moon is in the wrong house')
