/* Numbers from text, whatever locale the program has chosen. */
#ifndef KD_NUMBER_H
#define KD_NUMBER_H

/* As strtod in the locale "C": the decimal separator is a point. */
double kd_number_parse(const char *text, char **end);

#endif
