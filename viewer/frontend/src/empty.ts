// Stands in for modules the browser never needs: xmlbuilder2 (VTK's XML formats) and Node's fs and path.
export const create = undefined;
export const convert = undefined;
